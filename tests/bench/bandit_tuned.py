"""bandit_vmapped.py, tuned by hand for XLA on a CPU: the same mathematics and programs.

Lanes are lifetimes along the last axis, which is what XLA vectorises (jax.vmap puts them first). Random numbers are drawn in
blocks of all steps and lanes beforehand. Arms are found by comparisons with partial sums that are kept from being fused, and
tallied by scatters that check no bounds. Tangents are written out, since jax.jvp is slower; their sums over arms are loops.
Not worth it, measured: scan(unroll=), rbg keys, short windows along a gathered tape of the primal.
"""
import functools

import jax
import jax.numpy as jnp
from jax import lax

from bandit_vmapped import ARMS, BATCH, DISCOUNTS, LENGTHS, NOISE, SIGMA, STEPS, rate


# --- sampling ----------------------------------------------------------------------------------------------------------
def softmax(theta):
    e = jnp.exp(theta - theta.max(0))
    return e / e.sum(0)


def by_inverse_cdf(theta, uniform):
    """arms [B, lanes]: how many partial sums of pi a uniform number passes."""
    pi = softmax(theta)
    partial = [pi[0]]
    for k in range(1, ARMS - 1):
        partial.append(partial[-1] + pi[k])
    partial = lax.optimization_barrier(jnp.stack(partial))  # else XLA forms the sums again for every comparison
    return (uniform[None] >= partial[:, None]).sum(0, dtype=jnp.int32)


def by_categorical(theta, key):
    return jax.random.categorical(key, theta[:, None], axis=0, shape=(BATCH, theta.shape[1]))


CHOOSE = {"inverse_cdf": by_inverse_cdf, "categorical": by_categorical}


def noise(key, sampler, steps, lanes):
    """What the choices and the rewards of all steps are made of."""
    choice, normal = jax.random.split(key)
    first = jax.random.uniform(choice, (steps, BATCH, lanes)) if sampler == "inverse_cdf" else jax.random.split(choice, steps)
    return first, jax.random.normal(normal, (steps, BATCH, lanes))


def means_of_arms(key, lanes):
    return jnp.exp(jax.random.uniform(key, (ARMS, lanes), minval=-100.0, maxval=1.0))


def window_start(key, length, lanes):
    return jax.random.randint(jax.random.fold_in(key, length), (lanes,), 0, STEPS - length + 1)


def tally(arm, value):
    """[K, lanes]: sums over the batch, by arm."""
    lane = jnp.arange(arm.shape[1])
    return jnp.zeros((ARMS, arm.shape[1])).at[arm, lane].add(value, mode="promise_in_bounds")


def batch(sampler, theta, mu, draws):
    """Counts and reward sums."""
    arm = CHOOSE[sampler](theta, draws[0])
    count = tally(arm, 1.0)
    return count, count * mu + NOISE * tally(arm, draws[1])


def update(theta, alpha, pi, reward):
    return theta + alpha * (reward - reward.sum(0) * pi) / BATCH


# --- es ----------------------------------------------------------------------------------------------------------------
def es(sampler, pairs, key, eta):
    """[T, M, pairs]"""
    key_task, key_z, key_window, key_noise = jax.random.split(key, 4)
    mu, z = means_of_arms(key_task, pairs), jax.random.normal(key_z, (2, pairs))
    start = jnp.stack([window_start(key_window, length, pairs) for length in LENGTHS])
    length = jnp.array(LENGTHS)[:, None]
    members = [eta[:, None] + SIGMA * z, eta[:, None] - SIGMA * z]

    def member_step(theta, eta, n, draws):
        arm = CHOOSE[sampler](theta, draws[0])
        mean = jnp.take_along_axis(mu, arm, 0, mode="promise_in_bounds")
        reward = tally(arm, mean + NOISE * draws[1])
        return update(theta, rate(eta, n), softmax(theta), reward), reward.sum(0) / BATCH

    def step(carry, x):
        (plus, minus), total = carry
        plus, up = member_step(plus, members[0], x[0], x[1:])
        minus, down = member_step(minus, members[1], x[0], x[1:])
        inside = (start <= x[0]) & (x[0] < start + length)
        return ((plus, minus), total + jnp.where(inside, up - down, 0)), None

    zero = jnp.zeros((ARMS, pairs))
    carry = ((zero, zero), jnp.zeros((len(LENGTHS), pairs)))
    xs = (jnp.arange(STEPS), *noise(key_noise, sampler, STEPS, pairs))
    total = lax.scan(step, carry, xs)[0][1]
    return (total / length)[:, None] * z / (2 * SIGMA)


# --- backprop, forward mode --------------------------------------------------------------------------------------------
def over_arms(weight, d):
    """sum_k weight[k] d[k]: a loop over arms keeps the vectors of XLA's inner loop long; .sum(0) is twice as slow."""
    return lax.scan(lambda total, x: (total + x[0] * x[1], None), jnp.zeros_like(d[0]), (weight, d))[0]


def columns(dice, d, alpha, alpha_dot, pi, count, reward):
    """Tangents d[K, ..., M, lanes] after the step, D and dl. Written out; jax.jvp of the step is slower."""
    wide = lambda x: x.reshape((ARMS,) + (1,) * (d.ndim - 2) + (-1,))  # noqa: E731
    total = reward.sum(0)
    mean = over_arms(pi, d)
    surrogate = (over_arms(reward, d) - total * mean) / BATCH
    logp = over_arms(count, d) - BATCH * mean
    turn = wide((reward - total * pi) / BATCH) * alpha_dot
    if dice:
        move = wide(alpha / BATCH * (reward - total * pi)) * (d - mean) - wide(alpha * pi) * surrogate
    else:
        move = -wide(alpha / BATCH * total * pi) * (d - mean)
    return d + turn + move, surrogate, logp


def accumulate(sums, inside, discount, objective, surrogate, logp):
    """One step of direct [..., M, lanes], correction and cum [G, ..., M, lanes]."""
    cum, direct, correction = sums
    return (discount * (cum + logp), direct + jnp.where(inside, surrogate, 0),
            correction + jnp.where(inside, objective * cum, 0))


rates = jax.vmap(jax.value_and_grad(rate), (None, 0), (0, 1))  # of steps n [lanes]: alpha [lanes], its derivatives [M, lanes]


def zeros(*shape):
    return jnp.zeros(shape), jnp.zeros(shape[1:]), jnp.zeros(shape)


def shared(sampler, replicates, key, eta):
    """[hessian][1 + G, T, M, replicates]: direct, then the correction of each discount."""
    lanes = 2 * replicates
    key_task, key_window, key_noise = jax.random.split(key, 3)
    mu = jnp.tile(means_of_arms(key_task, replicates), (1, 2))
    discount = jnp.array(DISCOUNTS).reshape(-1, 1, 1, 1)
    start = jnp.stack([window_start(key_window, length, lanes) for length in LENGTHS])[:, None]
    length = jnp.array(LENGTHS)[:, None, None]

    def step(carry, x):
        theta, blocks = carry
        n, pi = x[0], softmax(theta)
        count, reward = batch(sampler, theta, mu, x[1:])
        alpha, alpha_dot = rates(eta, jnp.full(lanes, n))
        moved = []
        for dice, (d, sums) in enumerate(blocks):
            d = jnp.where(n > start, d, 0)
            d, *dots = columns(dice, d, alpha, alpha_dot, pi, count, reward)
            moved.append((d, accumulate(sums, n < start + length, discount, reward.sum(0) / BATCH, *dots)))
        return (update(theta, alpha, pi, reward), moved), None

    block = (jnp.zeros((ARMS, len(LENGTHS), 2, lanes)), zeros(len(DISCOUNTS), len(LENGTHS), 2, lanes))
    xs = (jnp.arange(STEPS), *noise(key_noise, sampler, STEPS, lanes))
    blocks = lax.scan(step, (jnp.zeros((ARMS, lanes)), [block] * 2), xs)[0][1]
    samples = [jnp.concatenate([sums[1][None], sums[2]]) / length for _, sums in blocks]
    return [0.5 * (s[..., :replicates] + s[..., replicates:]) for s in samples]


# --- one window, one Hessian mode, one discount ------------------------------------------------------------------------
def at_window(sampler, length, replicates, key, eta):
    """Lifetimes at the start of their windows: mu, start, theta, the noise of the steps inside."""
    lanes = 2 * replicates
    key_task, key_window, key_noise, key_inside = jax.random.split(key, 4)
    mu = jnp.tile(means_of_arms(key_task, replicates), (1, 2))
    start = window_start(key_window, length, lanes)

    def step(theta, x):
        moved = update(theta, rate(eta, x[0]), softmax(theta), batch(sampler, theta, mu, x[1:])[1])
        return jnp.where(x[0] < start, moved, theta), None

    before = STEPS - length
    xs = (jnp.arange(before), *noise(key_noise, sampler, before, lanes))
    theta = lax.scan(step, jnp.zeros((ARMS, lanes)), xs)[0]
    return mu, start, theta, (jnp.arange(length), *noise(key_inside, sampler, length, lanes))


def forward(sampler, length, dice, replicates, key, eta, discount):
    """[2, M, replicates]: direct, correction. Tangent columns along the window."""
    mu, start, theta, xs = at_window(sampler, length, replicates, key, eta)

    def step(carry, x):
        theta, d, sums = carry
        pi = softmax(theta)
        count, reward = batch(sampler, theta, mu, x[1:])
        alpha, alpha_dot = rates(eta, start + x[0])
        d, *dots = columns(dice, d, alpha, alpha_dot, pi, count, reward)
        return (update(theta, alpha, pi, reward), d, accumulate(sums, True, discount, reward.sum(0) / BATCH, *dots)), None

    lanes = 2 * replicates
    carry = (theta, jnp.zeros((ARMS, 2, lanes)), zeros(1, 2, lanes))
    _, direct, correction = lax.scan(step, carry, xs)[0][2]
    return jnp.stack([direct, correction[0]]).reshape(2, 2, 2, replicates).mean(2) / length


def terms(sampler, dice, discount, mu, start, theta, xs, eta):
    """direct, correction [lanes] as objectives, eta [M, lanes]: to be differentiated, the samples held fixed."""
    def step(carry, x):
        theta, cum, direct, correction = carry
        count, reward = batch(sampler, lax.stop_gradient(theta), mu, x[1:])
        log_pi = jax.nn.log_softmax(theta, axis=0)
        boxed = reward * (1 + log_pi - lax.stop_gradient(log_pi)) if dice else reward
        theta = update(theta, rate(eta, start + x[0]), jnp.exp(log_pi), boxed)
        return (theta, discount * (cum + (count * log_pi).sum(0)), direct + (reward * log_pi).sum(0) / BATCH,
                correction + reward.sum(0) / BATCH * cum), None

    nothing = jnp.zeros(theta.shape[1])
    return lax.scan(step, (theta, nothing, nothing, nothing), xs)[0][2:]


def single(mode, sampler, length, dice, replicates, key, eta, discount, coefficient):
    """[2, M, replicates]: direct, correction; of mode fixed [1, M, replicates], direct + coefficient correction."""
    if mode == "forward":
        return forward(sampler, length, dice, replicates, key, eta, discount)
    *life, xs = at_window(sampler, length, replicates, key, eta)
    objective = functools.partial(terms, sampler, dice, discount, *life, xs)
    value, pull = jax.vjp(objective, jnp.broadcast_to(eta[:, None], (2, 2 * replicates)))
    one, none = jnp.ones_like(value[0]), jnp.zeros_like(value[0])
    if mode == "fixed":
        gradient = pull((one, coefficient * one))[0][None]
    else:
        gradient = jnp.stack([pull((one, none))[0], pull((none, one))[0]])
    return gradient.reshape(-1, 2, 2, replicates).mean(2) / length


# --- parts, to see where time goes -------------------------------------------------------------------------------------
def draws(sampler, replicates, key, eta):
    """Random numbers alone."""
    total = lambda x: x.sum(0) if x.ndim > 1 else x  # noqa: E731
    return [total(x) for x in noise(key, sampler, STEPS, 2 * replicates)]


def primal(sampler, replicates, key, eta):
    """Lifetimes without tangents."""
    lanes = 2 * replicates
    key_task, key_noise = jax.random.split(key)
    mu = means_of_arms(key_task, lanes)

    def step(theta, x):
        count, reward = batch(sampler, theta, mu, x[1:])
        return update(theta, rate(eta, x[0]), softmax(theta), reward), reward.sum(0) + count[0]

    xs = (jnp.arange(STEPS), *noise(key_noise, sampler, STEPS, lanes))
    return lax.scan(step, jnp.zeros((ARMS, lanes)), xs)[1].sum(0)
