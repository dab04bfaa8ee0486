#!/usr/bin/env python3
"""Writes maze_autodiff.inc: the maze and its meta-gradient from an independent implementation.

The grid world, the networks and the loss are written here once more, in plain Python and JAX (float64), and the derivatives by
eta come from automatic differentiation through the whole lifetime, actions held fixed. tests/test_maze.c runs the same
lifetimes, with the same numbers for noise, through the C program. Needs jax 0.4; what it writes is part of the repository.

    python3 maze_autodiff.py >maze_autodiff.inc
"""
import math
from statistics import NormalDist

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

SIDE, HORIZON, ENVIRONMENTS, HIDDEN, STEPS = 3, 5, 3, (7, 5), 4
DISCOUNT, VALUE_SHARE, RATE, FLIP = 0.9, 0.3, 0.7, 10
TASK, INIT, REWARD, ACTION = 1, 2, 3, 4
WIDTH = 6 * SIDE + HORIZON
CONTEXT_HIDDEN, MEMORY = 3, 10


def uniform(purpose, step, index):
    """The noise of the test: any formula will do that Python and C evaluate alike."""
    x = 0.6180339887498949 * (index + 1) + 0.4142135623730951 * (step + 1) + 0.7320508075688772 * purpose
    return 0.001 + 0.998 * (x - math.floor(x))


def place(u, count):
    return min(int(u * count), count - 1)


class Maze:
    """Player, green and blue as (row, column)."""

    def __init__(self, u):
        cells = [(r, c) for r in range(SIDE) for c in range(SIDE)]
        self.things = []
        for x in u:
            self.things.append(cells.pop(place(x, len(cells))))

    def observation(self, t):
        x = [0.0] * WIDTH
        for i, (row, column) in enumerate(self.things):
            x[2 * i * SIDE + row] = x[(2 * i + 1) * SIDE + column] = 1.0
        x[6 * SIDE + t] = 1.0
        return x

    def step(self, action, green_pays, u):
        down, right = [(0, -1), (1, 0), (0, 1), (-1, 0)][action]
        (row, column), wall = self.things[0], SIDE - 1
        self.things[0] = (min(max(row + down, 0), wall), min(max(column + right, 0), wall))
        for i in (1, 2):
            if self.things[i] == self.things[0]:
                free = [(r, c) for r in range(SIDE) for c in range(SIDE) if (r, c) not in self.things]
                self.things[i] = free[place(u[i - 1], len(free))]
                return 1.0 if (i == 1) == green_pays else -1.0
        return -0.04


def truncated_normal(u):
    low, high = NormalDist().cdf(-2.0), NormalDist().cdf(2.0)
    return NormalDist().inv_cdf(low + u * (high - low))


def network_init(widths, draws):
    layers = []
    for a, b in zip(widths, widths[1:]):
        w = [[truncated_normal(next(draws)) / math.sqrt(a) for _ in range(b)] for _ in range(a)]
        layers.append((jnp.array(w), jnp.zeros(b)))
    return layers


def relu(x):
    return jnp.where(x > 0, x, 0.0)


def network(layers, x, activation):
    for i, (w, b) in enumerate(layers):
        x = x @ w + b
        x = activation(x) if i < len(layers) - 1 else x
    return x


def context_layers(eta):
    a, b = MEMORY, CONTEXT_HIDDEN
    return [(eta[: a * b].reshape(a, b), eta[a * b : a * b + b]), (eta[a * b + b : a * b + 2 * b].reshape(b, 1), eta[-1:])]


def batch(n, green_pays):
    """One step's episodes: observations, actions, rewards, all [time][environment]. Actions are part of the noise."""
    mazes = [Maze([uniform(REWARD, n, 1 + 3 * b + i) for i in range(3)]) for b in range(ENVIRONMENTS)]
    x, a, r = [], [], []
    for t in range(HORIZON):
        x.append([m.observation(t) for m in mazes])
        rows = [t * ENVIRONMENTS + b for b in range(ENVIRONMENTS)]
        a.append([int(4 * uniform(ACTION, n, row)) for row in rows])
        u = [[uniform(REWARD, n, 1 + 3 * ENVIRONMENTS + 2 * row + i) for i in (0, 1)] for row in rows]
        r.append([m.step(a[t][b], green_pays, u[b]) for b, m in enumerate(mazes)])
    return jnp.array(x), jnp.array(a), jnp.array(r)


def returns_of(r):
    g = [r[-1]]
    for row in r[-2::-1]:
        g.insert(0, row + DISCOUNT * g[0])
    return jnp.stack(g)


def log_pi(theta, x, a, activation):
    table = jax.nn.log_softmax(network(theta[0], x, activation))
    return table, jnp.take_along_axis(table, a[..., None], axis=-1)[..., 0]


def loss(theta, advantage, share, x, a, g, activation):
    table, chosen = log_pi(theta, x, a, activation)
    entropy = -(jnp.exp(table) * table).sum(-1)
    value = network(theta[1], x, activation)[..., 0]
    return -(advantage * chosen).mean() - share * entropy.mean() + 0.5 * VALUE_SHARE * ((g - value) ** 2).mean()


def lifetime(eta, outer_loss, context, activation):
    """[STEPS][4]: R_n, ell_n, surrogate, baseline."""
    draws = iter(uniform(INIT, 0, i) for i in range(10**6))
    theta = (network_init((WIDTH, *HIDDEN, 4), draws), network_init((WIDTH, *HIDDEN, 1), draws))
    green_pays = uniform(TASK, 0, 0) < 0.5
    seen, rows = [0.0] * MEMORY, []
    for n in range(STEPS):
        if n and n * HORIZON // FLIP != (n - 1) * HORIZON // FLIP:
            green_pays = uniform(REWARD, n, 0) < 0.5
        x, a, r = batch(n, green_pays)
        g = returns_of(r)
        seen = seen[1:] + [r.mean()]
        share = jax.nn.sigmoid(network(context_layers(eta), jnp.array(seen), relu)[0] if context else eta[0])
        advantage = g - network(theta[1], x, activation)[..., 0]
        stopped = jax.lax.stop_gradient(advantage)
        weight = {"first_state": g, "first_state_adv": stopped,
                  "first_state_discounted": g * DISCOUNT ** jnp.arange(HORIZON)[:, None]}[outer_loss]
        chosen = log_pi(theta, x, a, activation)[1]
        baseline = (g[0] - stopped[0]).mean() if outer_loss == "first_state_adv" else 0.0
        rows.append(jnp.array([g[0].mean(), chosen.sum(), (weight * chosen).sum() / ENVIRONMENTS, baseline]))
        # The advantage is an argument of the loss, so the gradient leaves it alone, and its tangent does not.
        gradient = jax.grad(loss)(theta, advantage, share, x, a, g, activation)
        theta = jax.tree_util.tree_map(lambda p, d: p - RATE * d, theta, gradient)
    return jnp.stack(rows)


def main():
    print("/* maze_autodiff.inc - written by maze_autodiff.py: per case the etas, and per step R_n, ell_n, surrogate, baseline, then")
    print(" * the derivatives of ell_n and of the surrogate by every eta. */")
    print("static const struct {\n  const char *outer_loss, *activation;\n  int context, meta;\n  double eta[40];\n"
          "  double report[%d][4], logp_dot[%d][40], surrogate_dot[%d][40];\n} autodiff[] = {" % (STEPS, STEPS, STEPS))
    numbers = lambda xs: "{" + ", ".join("%.17g" % x for x in xs) + "}"
    for outer_loss, activation, context in (("first_state_discounted", "relu", 0), ("first_state_adv", "relu", 0),
                                            ("first_state", "relu", 1), ("first_state_discounted", "tanh", 1)):
        meta = MEMORY * CONTEXT_HIDDEN + 2 * CONTEXT_HIDDEN + 1 if context else 1
        eta = jnp.array([math.sin(1.0 + 2.0 * j) for j in range(meta)])
        f = lambda e: lifetime(e, outer_loss, context, {"relu": relu, "tanh": jnp.tanh}[activation])
        report, dot = f(eta), jax.jacfwd(f)(eta)
        table = lambda part: "{" + ",\n      ".join(numbers(dot[n, part]) for n in range(STEPS)) + "}"
        print('    {"%s", "%s", %d, %d,\n     %s,\n     {%s},\n     %s,\n     %s},' % (
            outer_loss, activation, context, meta, numbers(eta), ",\n      ".join(numbers(x) for x in report), table(1), table(2)))
    print("};")


main()
