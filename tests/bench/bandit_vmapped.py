"""The long bandit study of Vuorio et al. 2022 in JAX as one writes it: one lifetime, jax.vmap, jax.jit, float32.

K arms, batch B, N inner steps. A batch enters through counts n_k and reward sums R_k alone:
    theta' = theta + alpha (R_k - R pi_k) / B        D = d (1/B) sum_k stop(R_k) log pi_k      dl = d sum_k n_k log pi_k
    cum' = gamma (cum + dl)       direct = (1/T) sum D     correction = (1/T) sum R/B cum     (lambda is left to later)
Programs, each from (key, eta) to samples; replicates have their own task instance, noise and window, the two lifetimes of a
backprop sample share their instance:
    es         antithetic pairs with common random numbers, all windows from one pair
    shared     one primal; the tangents of all windows and both Hessian modes ride along, discounts are accumulators
    forward    one window, Hessian mode and discount: jax.jacfwd of direct and correction
    reverse    the same by jax.jacrev; fixed: direct + lambda correction for one lambda, a single pullback
A run of one window goes to the window's start without tangents (steps beyond it are masked) and then T steps with them.
"""
import jax
import jax.numpy as jnp
from jax import lax

ARMS, BATCH, STEPS, CUTOFF, NOISE, SIGMA = 30, 10, 80, 10, 2.0, 0.1
LENGTHS = (2, 21, 41, 61, 80)
DISCOUNTS = (0.5, 0.8, 0.9, 0.95, 1.0)  # at 0 the correction is 0


def instance(key):
    return jnp.exp(jax.random.uniform(key, (ARMS,), minval=-100.0, maxval=1.0))


def window_start(key, length):
    return jax.random.randint(jax.random.fold_in(key, length), (), 0, STEPS - length + 1)


def rate(eta, n):
    return jax.nn.softplus(jnp.where(n < STEPS // CUTOFF, eta[0], eta[1]))


def batch(sampler, theta, mu, key):
    """Counts and reward sums of one step, not to be differentiated."""
    key_arm, key_reward = jax.random.split(key)
    theta = lax.stop_gradient(theta)
    if sampler == "categorical":
        arm = jax.random.categorical(key_arm, theta, shape=(BATCH,))
    else:
        below = jnp.cumsum(jax.nn.softmax(theta))[:-1]
        arm = jnp.searchsorted(below, jax.random.uniform(key_arm, (BATCH,)), side="right", method="compare_all")
    chosen = jax.nn.one_hot(arm, ARMS)
    count = chosen.sum(0)
    return count, count * mu + NOISE * jax.random.normal(key_reward, (BATCH,)) @ chosen


def learn(dice, theta, alpha, count, reward):
    """theta', the surrogate of D, log-likelihood; reward carries DiCE's magic box: 1, with a derivative."""
    log_pi = jax.nn.log_softmax(theta)
    boxed = reward * jnp.exp(log_pi - lax.stop_gradient(log_pi)) if dice else reward
    gradient = (boxed - boxed.sum() * jnp.exp(log_pi)) / BATCH
    return theta + alpha * gradient, (reward * log_pi).sum() / BATCH, (count * log_pi).sum()


def es(sampler, pairs, key, eta):
    """[T, M, pairs]"""
    length = jnp.array(LENGTHS)

    def pair(key):
        key_task, key_z, key_window, key_noise = jax.random.split(key, 4)
        mu, z = instance(key_task), jax.random.normal(key_z, (2,))
        start = jnp.stack([window_start(key_window, length) for length in LENGTHS])

        def member(eta):
            def step(theta, x):
                count, reward = batch(sampler, theta, mu, x[1])
                return learn(False, theta, rate(eta, x[0]), count, reward)[0], reward.sum() / BATCH
            return lax.scan(step, jnp.zeros(ARMS), (jnp.arange(STEPS), jax.random.split(key_noise, STEPS)))[1]

        plus, minus = jax.vmap(member)(jnp.stack([eta + SIGMA * z, eta - SIGMA * z]))
        n = jnp.arange(STEPS)
        inside = (start[:, None] <= n) & (n < (start + length)[:, None])
        return (inside @ (plus - minus) / length)[:, None] * z / (2 * SIGMA)

    return jnp.moveaxis(jax.vmap(pair)(jax.random.split(key, pairs)), 0, -1)


def replicate(lifetime, replicates, key):
    """Means over the two lifetimes of each replicate; the last axis is the replicate."""
    def one(key):
        key_task, *key_lives = jax.random.split(key, 3)
        out = jax.vmap(lifetime, (None, 0))(instance(key_task), jnp.stack(key_lives))
        return jax.tree.map(lambda x: x.mean(0), out)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), jax.vmap(one)(jax.random.split(key, replicates)))


def shared(sampler, replicates, key, eta):
    """[hessian][1 + G, T, M, replicates]: direct, then the correction of each discount."""
    length = jnp.array(LENGTHS)[:, None]
    discount = jnp.array(DISCOUNTS)[:, None, None]

    def lifetime(mu, key):
        key_window, key_noise = jax.random.split(key)
        start = jnp.stack([window_start(key_window, length) for length in LENGTHS])[:, None]

        def step(carry, x):
            theta, blocks = carry
            n = x[0]
            count, reward = batch(sampler, theta, mu, x[1])
            alpha, alpha_dot = jax.value_and_grad(rate)(eta, n)
            objective, moved = reward.sum() / BATCH, []
            for dice, (d, cum, direct, correction) in enumerate(blocks):
                d = jnp.where((n > start)[..., None], d, 0)  # [T, M, K]
                push = jax.linearize(lambda *at, dice=dice: learn(dice, *at, count, reward), theta, alpha)[1]
                d, surrogate, logp = jax.vmap(jax.vmap(push), (0, None))(d, alpha_dot)
                inside = n < start + length
                moved.append((d, discount * (cum + logp), direct + jnp.where(inside, surrogate, 0),
                              correction + jnp.where(inside, objective * cum, 0)))
            return (learn(False, theta, alpha, count, reward)[0], moved), None

        many, lengths = len(DISCOUNTS), len(LENGTHS)
        block = (jnp.zeros((lengths, 2, ARMS)), jnp.zeros((many, lengths, 2)), jnp.zeros((lengths, 2)),
                 jnp.zeros((many, lengths, 2)))
        xs = (jnp.arange(STEPS), jax.random.split(key_noise, STEPS))
        blocks = lax.scan(step, (jnp.zeros(ARMS), [block] * 2), xs)[0][1]
        return [jnp.concatenate([direct[None], correction]) / length for _, _, direct, correction in blocks]

    return replicate(lifetime, replicates, key)


def single(mode, sampler, length, dice, replicates, key, eta, discount, coefficient):
    """[2, M, replicates]: direct, correction; of mode fixed [1, M, replicates], direct + coefficient correction."""
    def lifetime(mu, key):
        key_window, key_before, key_inside = jax.random.split(key, 3)
        start, before = window_start(key_window, length), STEPS - length

        def approach(theta, x):
            count, reward = batch(sampler, theta, mu, x[1])
            return jnp.where(x[0] < start, learn(False, theta, rate(eta, x[0]), count, reward)[0], theta), None

        theta = lax.scan(approach, jnp.zeros(ARMS), (jnp.arange(before), jax.random.split(key_before, before)))[0]

        def terms(eta):
            def step(carry, x):
                theta, cum, direct, correction = carry
                count, reward = batch(sampler, theta, mu, x[1])
                theta, surrogate, logp = learn(dice, theta, rate(eta, start + x[0]), count, reward)
                return (theta, discount * (cum + logp), direct + surrogate, correction + reward.sum() / BATCH * cum), None
            xs = (jnp.arange(length), jax.random.split(key_inside, length))
            direct, correction = lax.scan(step, (theta, 0.0, 0.0, 0.0), xs)[0][2:]
            both = jnp.stack([direct, correction]) / length
            return both[:1] + coefficient * both[1:] if mode == "fixed" else both

        return (jax.jacfwd if mode == "forward" else jax.jacrev)(terms)(eta)

    return replicate(lifetime, replicates, key)


def draws(sampler, replicates, key, eta):
    """Random numbers alone; those of a categorical choice are not counted."""
    def lifetime(_, key):
        def step(total, key):
            a, b = jax.random.split(key)
            return total + jax.random.uniform(a, (BATCH,)) + jax.random.normal(b, (BATCH,)), None
        return lax.scan(step, jnp.zeros(BATCH), jax.random.split(key, STEPS))[0]
    return replicate(lifetime, replicates, key)


def primal(sampler, replicates, key, eta):
    """Lifetimes without tangents."""
    def lifetime(mu, key):
        def step(theta, x):
            count, reward = batch(sampler, theta, mu, x[1])
            return learn(False, theta, rate(eta, x[0]), count, reward)[0], reward.sum() + count[0]
        return lax.scan(step, jnp.zeros(ARMS), (jnp.arange(STEPS), jax.random.split(key, STEPS)))[1].mean()
    return replicate(lifetime, replicates, key)
