"""Edge-by-edge reference for message passing in a multi-layer perceptron: the equations, one Python loop per index.

Written from the equations only (BP eqs. 60-71, BPI 72-83, MF 84-95, AMP 107-118 with the time indices kept), for tiny
networks, to have something slow and obvious against which fast dense sweeps can be compared.

Notation, and the index order of every array here:
    k output unit, i input unit, n sample;    weights [k, i],   units [i, n] or [k, n],   edges: dict {(k, i, n): value}
    x [N_0, samples];   y [N_{L+1}, samples] of +-1 (output "sign"; 1-d when there is one unit), or [samples] ("argmax")
Layer l = 0..L has inputs x^l and UNSCALED pre-activations u_kn = sum_i W_ki x_in, mean omega and variance V. The
channel above sees z = s u, that is (s omega, s^2 V); g and Gamma are stored as derivatives in the omega of u: s g_z and
s^2 Gamma_z.
A bias is a last input "unit" i = N_l with x = 1, Delta = 0. Absent edges (mask False) are never visited; the arrays
returned hold 0 there.
"""

import math
from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
from scipy.special import erfcx, log_ndtr, logsumexp

# ---------------------------------------------------------------- scalar free energies

Channel = namedtuple("Channel", "phi x D g Gamma")  # phi, d_B phi, d_B^2 phi, d_omega phi, -d_omega^2 phi
Output = namedtuple("Output", "phi g Gamma")


def log_h(t):
    """log H(t), H(t) = erfc(t / sqrt 2) / 2."""
    return float(log_ndtr(-t))


def k_ratio(t):
    """K(t) = N(t; 0, 1) / H(t); K' = K (K - t)."""
    return math.sqrt(2 / math.pi) / float(erfcx(t / math.sqrt(2)))


def require_positive(value, what):
    if not value > 0:
        raise ValueError(f"{what} = {value} is not positive: the Gaussian integral behind this message diverges")
    return float(value)


def sign_channel(B, A, omega, V):
    """x = sign(z). A x^2/2 is a constant, dropped."""
    V = require_positive(V, "V")
    t = omega / math.sqrt(V)
    log_up, log_down = B + log_h(-t), -B + log_h(t)
    phi = float(logsumexp([log_up, log_down]))
    up, down = math.exp(log_up - phi), math.exp(log_down - phi)
    # d_omega sum_x e^{Bx} H(-x t) = (e^B - e^-B) N(t) / sqrt V: the form that is exactly zero at B = 0
    log_normal = -t * t / 2 - math.log(2 * math.pi) / 2
    g = (math.exp(B + log_normal - phi) - math.exp(-B + log_normal - phi)) / math.sqrt(V)
    return Channel(phi, up - down, 4 * up * down, g, g * (omega / V + g))


def relu_channel(B, A, omega, V):
    """x = max(0, z): a mixture of the branch z < 0 (x = 0) and the branch z > 0 (a truncated tilted Gaussian)."""
    V = require_positive(V, "V")
    c = require_positive(1 + A * V, "1 + A V")
    v, mu = V / c, (omega + B * V) / c  # e^{Bz - A z^2/2} N(z; omega, V) = e^{log_scale} N(z; mu, v)
    log_scale = (B * B * V + 2 * B * omega - A * omega * omega) / (2 * c) - math.log(c) / 2
    t_down, t_up = omega / math.sqrt(V), -mu / math.sqrt(v)
    log_down, log_up = log_h(t_down), log_scale + log_h(t_up)
    phi = float(logsumexp([log_down, log_up]))
    down, up = math.exp(log_down - phi), math.exp(log_up - phi)
    k_down, k_up = k_ratio(t_down), k_ratio(t_up)
    first, second = mu + math.sqrt(v) * k_up, mu * mu + v + mu * math.sqrt(v) * k_up  # E[z | z>0], E[z^2 | z>0]
    x = up * first
    g_down, g_up = -k_down / math.sqrt(V), (B - A * omega) / c + k_up / (math.sqrt(v) * c)  # d_omega of log branch
    dg_down = -k_down * (k_down - t_down) / V
    dg_up = -A / c - k_up * (k_up - t_up) / (v * c * c)
    g = down * g_down + up * g_up
    return Channel(phi, x, up * second - x * x, g, g * g - down * (g_down**2 + dg_down) - up * (g_up**2 + dg_up))


def identity_channel(B, A, omega, V):
    """x = z. Not an activation of the experiments: with it, single-sample message passing has exact limits."""
    V = require_positive(V, "V")
    c = require_positive(1 + A * V, "1 + A V")
    phi = (B * B * V + 2 * B * omega - A * omega * omega) / (2 * c) - math.log(c) / 2
    return Channel(phi, (omega + B * V) / c, V / c, (B - A * omega) / c, A / c)


CHANNELS = {"sign": sign_channel, "relu": relu_channel, "identity": identity_channel}


def sign_output(y, omega, V):
    """y = sign(z) observed."""
    V = require_positive(V, "V")
    t = -y * omega / math.sqrt(V)
    g = y * k_ratio(t) / math.sqrt(V)
    return Output(log_h(t), g, g * (omega / V + g))


def argmax_output(label, k, omega, V):
    """y = argmax(z), double-Jensen form; phi is the same for every k, g and Gamma are with respect to omega_k."""
    phi = g = Gamma = 0.0
    for other in range(len(omega)):
        if other == label:
            continue
        S = math.sqrt(require_positive(V[other] + V[label], "V_k + V_c"))
        t = -(omega[label] - omega[other]) / S
        phi += log_h(t)
        if k in (label, other):  # t depends on omega_other with +1/S and on omega_label with -1/S
            g += (1 if k == label else -1) * k_ratio(t) / S
            Gamma += k_ratio(t) * (k_ratio(t) - t) / S**2
    return Output(phi, g, Gamma)


# ---------------------------------------------------------------- network and state


@dataclass
class EdgeNetwork:
    widths: list  # [N_0, .., N_{L+1}]
    weights: list  # per layer "binary" | "continuous"
    closure: list  # per layer "bp" | "bpi" | "mf" | "amp"
    activation: str = "sign"  # hidden units: "sign" | "relu" (| "identity", for tests)
    output: str = "sign"  # "sign" | "argmax"
    scale: list = None  # s_l, 1 by default
    bias: list = None  # per layer bool
    mask: list = None  # per layer None or bool [K, N (+1)]

    def __post_init__(self):
        L = len(self.widths) - 1
        self.scale = self.scale or [1.0] * L
        self.bias = self.bias or [False] * L
        self.mask = self.mask or [None] * L
        if self.output == "argmax" and self.closure[-1] not in ("mf", "amp"):
            raise ValueError("an argmax layer has no per-edge g: its closure is mf or amp")

    @property
    def layers(self):
        return range(len(self.widths) - 1)

    def shape(self, layer):
        return self.widths[layer + 1], self.widths[layer] + int(self.bias[layer])

    def pairs(self, layer):
        """The existing weights (k, i) of a layer."""
        K, N = self.shape(layer)
        mask = self.mask[layer]
        return [(k, i) for k in range(K) for i in range(N) if mask is None or mask[k][i]]


@dataclass
class LayerState:
    """What one layer carries from a mini-batch to the next; G is all zero and unused for binary weights."""

    H: np.ndarray
    G: np.ndarray
    m: np.ndarray
    sigma: np.ndarray


def state_from_fields(network, H, G=None):
    """The undamped state of given fields: m = tanh H, sigma = 1 - m^2; or m = H/G, sigma = 1/G."""
    state = []
    for layer in network.layers:
        s = LayerState(*(np.zeros(network.shape(layer)) for _ in range(4)))
        for k, i in network.pairs(layer):
            s.H[k, i] = H[layer][k][i]
            if network.weights[layer] == "binary":
                s.m[k, i] = math.tanh(s.H[k, i])
                s.sigma[k, i] = 1 - s.m[k, i] ** 2
            else:
                s.G[k, i] = require_positive(G[layer][k][i], "G")
                s.m[k, i], s.sigma[k, i] = s.H[k, i] / s.G[k, i], 1 / s.G[k, i]
        state.append(s)
    return state


@dataclass
class Messages:
    """All the quantities of one layer in one iteration (the record; the last iteration's are returned)."""

    m_used: np.ndarray = None  # means and variances of the weights that this iteration's messages used
    sigma_used: np.ndarray = None
    m_edge: dict = None  # m_{ki->n} (closure bp)
    x_hat: np.ndarray = None  # [N (+1), samples]: the last row is the bias unit, if there is one
    Delta: np.ndarray = None
    x_edge: dict = field(default_factory=dict)  # x_{in->k} (closure bp)
    omega: np.ndarray = None
    V: np.ndarray = None
    g: np.ndarray = None
    Gamma: np.ndarray = None
    g_edge: dict = field(default_factory=dict)  # g_{kn->i} (closures bp, bpi)
    B: np.ndarray = None  # [N (+1), samples]: sums over the factors k of this layer
    A: np.ndarray = None
    H_in: np.ndarray = None
    G_in: np.ndarray = None
    H: np.ndarray = None  # totals, and the new m, sigma that the next iteration will use
    G: np.ndarray = None
    m: np.ndarray = None
    sigma: np.ndarray = None


# ---------------------------------------------------------------- one iteration


def usable(A):
    """Nothing takes precision from a message that would have a negative one: e^{-Ax^2/2} would grow."""
    return max(A, 0.0)


def forward_layer(network, layer, new, old, below, x, beta):
    """x_hat, Delta, V, omega of one layer. `old`: the layer's messages of the previous iteration, None at t = 1;
    `below`: the messages of layer l - 1 in this iteration."""
    (K, N), samples, closure = network.shape(layer), x.shape[1], network.closure[layer]
    pairs = network.pairs(layer)
    new.x_hat, new.Delta = np.ones((N, samples)), np.zeros((N, samples))  # right for a bias unit
    for i in range(network.widths[layer]):
        for n in range(samples):
            if layer == 0:
                new.x_hat[i, n] = x[i, n]
                new.x_edge.update({(k, i, n): x[i, n] for k, j in pairs if j == i})
                continue
            channel, s = CHANNELS[network.activation], network.scale[layer - 1]
            B, A = (0.0, 0.0) if old is None else (old.B[i, n], usable(old.A[i, n]))
            omega, V = s * below.omega[i, n], s * s * below.V[i, n]
            full = channel(B, A, omega, V)
            new.x_hat[i, n], new.Delta[i, n] = full.x, full.D
            for k, j in pairs:
                if j == i and closure == "bp":  # leave out what factor k itself sent in the previous iteration
                    own = 0.0 if old is None else old.m_edge[k, i, n] * old.g_edge[k, i, n]
                    new.x_edge[k, i, n] = channel(B - own, A, omega, V).x
    if network.bias[layer]:
        new.x_edge.update({(k, i, n): 1.0 for k, i in pairs if i == N - 1 for n in range(samples)})

    new.omega, new.V = np.zeros((K, samples)), np.zeros((K, samples))
    for k, i in pairs:
        m, sigma = new.m_used[k, i], new.sigma_used[k, i]
        for n in range(samples):
            xh, D = new.x_hat[i, n], new.Delta[i, n]
            new.V[k, n] += m * m * D + sigma * xh * xh + sigma * D
            if closure == "bp":
                new.omega[k, n] += new.m_edge[k, i, n] * new.x_edge[k, i, n]
                continue
            new.omega[k, n] += m * xh
            if closure == "amp" and old is not None:
                g0, x0, m0 = old.g[k, n], old.x_hat[i, n], old.m_used[k, i]
                new.omega[k, n] -= beta * g0 * sigma * xh * x0
                new.omega[k, n] -= g0 * m * m0 * D
                new.omega[k, n] += beta * g0 * g0 * sigma * m0 * x0 * D


def g_gamma(network, layer, k, n, omega, new, above, y):
    """(g, Gamma) of factor (k, n) in the variable u, at mean `omega` (a cavity one, or new.omega[k, n])."""
    s = network.scale[layer]
    V = s * s * new.V[k, n]
    if above is not None:
        out = CHANNELS[network.activation](above.B[k, n], usable(above.A[k, n]), s * omega, V)
    elif network.output == "sign":
        out = sign_output(y[k, n], s * omega, V)
    else:  # argmax couples the units of a sample; it is only ever evaluated at the full omega
        out = argmax_output(int(y[n]), k, s * new.omega[:, n], s * s * new.V[:, n])
    return s * out.g, s * s * out.Gamma


def backward_layer(network, layer, new, old, above, y, beta):
    """g, Gamma, then the messages to the inputs (B, A) and to the weights (H_in, G_in). `above`: the messages of layer
    l + 1 in this iteration (its B, A are those of this layer's outputs), None at the top."""
    (K, N), samples, closure = network.shape(layer), new.omega.shape[1], network.closure[layer]
    new.g, new.Gamma = np.zeros((K, samples)), np.zeros((K, samples))
    for k in range(K):
        for n in range(samples):
            new.g[k, n], new.Gamma[k, n] = g_gamma(network, layer, k, n, new.omega[k, n], new, above, y)
    new.B, new.A = np.zeros((N, samples)), np.zeros((N, samples))
    new.H_in, new.G_in = np.zeros((K, N)), np.zeros((K, N))
    for k, i in network.pairs(layer):
        m, sigma = new.m_used[k, i], new.sigma_used[k, i]
        for n in range(samples):
            xh, D, g, Gamma = new.x_hat[i, n], new.Delta[i, n], new.g[k, n], new.Gamma[k, n]
            new.A[i, n] += (m * m + sigma) * Gamma - sigma * g * g
            new.G_in[k, i] += (xh * xh + D) * Gamma - D * g * g
            if closure == "bp":
                m_edge, x_edge = new.m_edge[k, i, n], new.x_edge[k, i, n]
                g_edge, _ = g_gamma(network, layer, k, n, new.omega[k, n] - m_edge * x_edge, new, above, y)
                new.g_edge[k, i, n] = g_edge
                new.B[i, n] += m_edge * g_edge
                new.H_in[k, i] += x_edge * g_edge
            elif closure == "bpi":
                g_edge, _ = g_gamma(network, layer, k, n, new.omega[k, n] - m * xh, new, above, y)
                new.g_edge[k, i, n] = g_edge
                new.B[i, n] += m * g_edge
                new.H_in[k, i] += xh * g_edge
            else:
                new.B[i, n] += m * g
                new.H_in[k, i] += xh * g
            if closure == "amp":  # g_{kn->i} - g = m x Gamma, then what the cavity means of the past left out
                new.B[i, n] += xh * m * m * Gamma
                new.H_in[k, i] += m * xh * xh * Gamma
                if old is not None:
                    g0, x0, m0 = old.g[k, n], old.x_hat[i, n], old.m_used[k, i]
                    new.B[i, n] -= beta * x0 * g * g0 * sigma + beta * xh * x0 * sigma * m * g0 * Gamma
                    new.H_in[k, i] -= m0 * g * g0 * D + m * m0 * g0 * Gamma * D * xh


def update_weights(network, layer, new, old, base, samples, rho, beta, alpha, r):
    """H, G, m, sigma and, for bp, the cavity means of the next iteration (returned)."""
    new.H, new.G, new.m, new.sigma = (np.zeros(network.shape(layer)) for _ in range(4))
    binary, next_edge = network.weights[layer] == "binary", {}
    for k, i in network.pairs(layer):
        H = beta * new.H_in[k, i] + rho * base.H[k, i] + (0.0 if old is None else r * old.H[k, i])
        G = 0.0
        if not binary:
            G = beta * usable(new.G_in[k, i]) + rho * base.G[k, i] + (0.0 if old is None else r * old.G[k, i])
            require_positive(G, f"G of weight {k, i} in layer {layer}")
        raw = math.tanh(H) if binary else H / G
        m = alpha * new.m_used[k, i] + (1 - alpha) * raw
        new.H[k, i], new.G[k, i], new.m[k, i] = H, G, m
        new.sigma[k, i] = 1 - m * m if binary else 1 / G
        if network.closure[layer] == "bp":
            for n in range(samples):
                H_cavity = H - beta * new.x_edge[k, i, n] * new.g_edge[k, i, n]
                raw = math.tanh(H_cavity) if binary else H_cavity / G
                next_edge[k, i, n] = alpha * new.m_edge[k, i, n] + (1 - alpha) * raw
    return next_edge


def train_batch(network, state, x, y, *, tau=1, rho=1.0, beta=1.0, alpha=0.0, r=0.0):
    """tau iterations on one mini-batch. rho, beta, alpha, r: a number, or one per layer. Returns (state', record):
    the record is the list of the layers' Messages of the last iteration."""
    x, y = np.asarray(x, float), np.asarray(y)
    if network.output == "sign":
        y = y.reshape(network.widths[-1], -1)
    samples, layers = x.shape[1], list(network.layers)
    rho, beta, alpha, r = (np.broadcast_to(np.asarray(p, float), len(layers)) for p in (rho, beta, alpha, r))
    m, sigma = [s.m.copy() for s in state], [s.sigma.copy() for s in state]
    m_edge = [{(k, i, n): m[ell][k, i] for k, i in network.pairs(ell) for n in range(samples)} for ell in layers]
    old = [None] * len(layers)  # "no previous iteration": B = A = g = 0
    for _ in range(tau):
        new = [Messages(m_used=m[ell], sigma_used=sigma[ell], m_edge=m_edge[ell]) for ell in layers]
        for ell in layers:
            forward_layer(network, ell, new[ell], old[ell], new[ell - 1] if ell > 0 else None, x, beta[ell])
        for ell in reversed(layers):
            backward_layer(network, ell, new[ell], old[ell], new[ell + 1] if ell < layers[-1] else None, y, beta[ell])
        m_edge = [
            update_weights(
                network, ell, new[ell], old[ell], state[ell], samples, rho[ell], beta[ell], alpha[ell], r[ell]
            )
            for ell in layers
        ]
        m, sigma, old = [q.m for q in new], [q.sigma for q in new], new
    return [LayerState(q.H.copy(), q.G.copy(), q.m.copy(), q.sigma.copy()) for q in old], old
