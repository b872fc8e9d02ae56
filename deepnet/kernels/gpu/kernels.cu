// Kernels of a sweep in float32. The formulas are the translated bodies of float32.py, which stand above this text.
//
// Every thread works on its own elements and owns what it writes: no shared memory, no atomics, no order to depend on.
// A kernel is therefore also a plain C++ function that does all the work of a grid of one thread.
//
// Arrays of edges are (outputs, inputs), arrays of units (units, samples), row by row.

typedef long long Index;

#define EACH(e, count) \
    for (Index e = (Index)blockIdx.x * blockDim.x + threadIdx.x; e < (count); e += (Index)blockDim.x * gridDim.x)

#define KERNEL extern "C" __global__ void

// ---- units ----------------------------------------------------------------------------------------------------------

// Mean and variance of sign units with the fields B [DL, eqs. 60-61].
KERNEL sign_moments(Index size, const float* B, const float* omega, const float* V, float* mean, float* variance) {
    EACH(e, size) {
        auto moments = float32_sign_moments32(B[e], omega[e], V[e]);
        mean[e] = moments.v[0];
        variance[e] = moments.v[1];
    }
}

// g and Gamma of sign units with the fields B [DL, eqs. 90-91].
KERNEL sign_derivatives(Index size, const float* B, const float* omega, const float* V, float* g, float* gamma) {
    EACH(e, size) {
        auto derivatives = float32_sign_derivatives32(B[e], omega[e], V[e]);
        g[e] = derivatives.v[0];
        gamma[e] = derivatives.v[1];
    }
}

// Each rival of the label by itself [DL, eqs. 132-133]; the label receives what keeps the sum of g zero. A thread owns a
// sample.
KERNEL argmax_derivatives(
    Index samples, Index classes, const Index* y, const float* omega, const float* V, float* g, float* gamma) {
    EACH(n, samples) {
        Index label = y[n] * samples + n;
        float total = 0.0f, curvature = 0.0f;
        // Rivals, and the sums of their g and Gamma for the label.
        for (Index e = n; e < classes * samples; e += samples) {
            if (e == label) continue;
            auto rival = float32_rival32(omega[e] - omega[label], 1.0f / sqrt(V[e] + V[label]));
            g[e] = -rival.v[0];
            gamma[e] = rival.v[1];
            total += rival.v[0];
            curvature += rival.v[1];
        }
        g[label] = total;
        gamma[label] = curvature;
    }
}

// ---- sums over units ------------------------------------------------------------------------------------------------

// Rows that a thread adds up; it owns one sample of them.
const Index STRIP = 16;

// The sum of the strips for sample n, in the order of the strips.
__device__ inline float sum_of_parts(Index count, Index samples, const float* parts, Index n) {
    float total = 0.0f;
    for (Index part = 0; part < count; part++) total += parts[part * samples + n];
    return total;
}

// Sums of the rows of each strip, (strips, samples).
KERNEL strip_sums(Index size, Index units, Index samples, const float* values, float* parts) {
    EACH(e, size) {
        Index n = e % samples, first = e / samples * STRIP;
        float total = 0.0f;
        for (Index i = first; i < first + STRIP && i < units; i++) total += values[i * samples + n];
        parts[e] = total;
    }
}

// Inputs and their squares one behind the other.
KERNEL with_squares(Index size, const float* x, float* both) {
    EACH(e, size) {
        both[e] = x[e];
        both[size + e] = x[e] * x[e];
    }
}

// V = max(V + sum of the variances of the inputs, floor): [DL, eq. 88] with m^2 + sigma = 1.
KERNEL finish_variances(Index size, Index units, Index samples, Index count, const float* parts, float floor, float* V) {
    EACH(e, size) {
        Index n = e % samples, first = e / samples * STRIP;
        float total = sum_of_parts(count, samples, parts, n);
        for (Index k = first; k < first + STRIP && k < units; k++)
            V[k * samples + n] = greater(V[k * samples + n] + total, floor);
    }
}

// B += x (sum of Gamma - reaction): what m x Gamma in g_{kn->i} = g + m x Gamma adds for weights of m^2 = 1 - sigma.
KERNEL finish_fields(
    Index size, Index units, Index samples, Index count, const float* parts, const float* x, const float* reaction,
    float* B) {
    EACH(e, size) {
        Index n = e % samples, first = e / samples * STRIP;
        float total = sum_of_parts(count, samples, parts, n);
        for (Index i = first; i < first + STRIP && i < units; i++)
            B[i * samples + n] += x[i * samples + n] * (total - reaction[i * samples + n]);
    }
}

// ---- edges ----------------------------------------------------------------------------------------------------------

// target += a b.
KERNEL add_product(Index size, const float* a, const float* b, float* target) {
    EACH(e, size) target[e] += a[e] * b[e];
}

// New fields, means and variances of weights +-1. H_in + m reaction is the message where there is a reaction, weights
// stay zero where the mask is; base may be H itself. The hyper-parameters lie on the device, where schedules change them.
KERNEL update_spins(
    Index size, const float* H_in, const float* reaction, const float* base, const bool* mask, const float* beta,
    const float* rho, const float* alpha, float r, float* H, float* m, float* sigma) {
    EACH(e, size) {
        // H <- beta H_in + r H + rho H_base, m <- alpha m + (1 - alpha) tanh H.
        float message = reaction ? H_in[e] + m[e] * reaction[e] : H_in[e];
        auto weight = float32_update_spin32(message, base[e], H[e], m[e], *beta, *rho, r, *alpha);
        bool edge = mask ? mask[e] : true;
        float mean = weight.v[1];
        H[e] = weight.v[0];
        m[e] = edge ? mean : 0.0f;
        sigma[e] = edge ? (1.0f - mean) * (1.0f + mean) : 0.0f;
    }
}

// ---- messages of BP and BPI at full means ---------------------------------------------------------------------------

// Outputs that a thread takes at a time.
const Index TILE = 8;

struct alignas(16) Factor { float t, inverse, c, eps; };

// What the edges of a factor share, (samples, padded outputs); factors of the padding send g = 0.
KERNEL edge_factors(
    Index size, Index outputs, Index padded, Index samples, const float* B, const float* omega, const float* V,
    Factor* factors) {
    EACH(e, size) {
        Index k = e % padded, n = e / padded, at = k * samples + n;
        if (k < outputs) {
            auto f = float32_edge_factor32(B[at], omega[at], V[at]);
            factors[e] = Factor{f.v[0], f.v[1], f.v[2], f.v[3]};
        } else {
            factors[e] = Factor{0.0f, 1.0f, 0.0f, 1.0f};
        }
    }
}

// One evaluation of g for every edge and sample: H_ki = sum_n x g and B_in = sum_k m g, in parts.
//
// Neighbouring threads own neighbouring inputs i. A thread takes every groups-th tile of outputs, whose means and H stay
// in registers, and a chunk of the samples; the factor of an output is the same for all threads of a warp. Parts of H
// are (chunks, outputs, inputs), those of B (groups, samples, inputs); B_parts is null where the inputs are data.
KERNEL edge_messages(
    Index size, Index outputs, Index inputs, Index samples, Index padded, Index groups, Index chunks, const float* m,
    const float* x_transposed, const Factor* factors, float* H_parts, float* B_parts) {
    EACH(e, size) {
        Index i = e % inputs, group = e / inputs % groups, chunk = e / inputs / groups;
        Index first = chunk * samples / chunks, last = (chunk + 1) * samples / chunks;
        for (Index k = group * TILE; k < outputs; k += groups * TILE) {
            // The means of the tile into registers; outputs of the padding have none.
            float means[TILE], fields[TILE];
            for (int j = 0; j < TILE; j++) {
                means[j] = k + j < outputs ? m[(k + j) * inputs + i] : 0.0f;
                fields[j] = 0.0f;
            }
            for (Index n = first; n < last; n++) {
                // g with the own term left out of omega [DL, eq. 78], and its part of both sums [DL, eqs. 81, 83].
                float x = x_transposed[n * inputs + i], B = 0.0f;
#pragma unroll
                for (int j = 0; j < TILE; j++) {
                    Factor f = factors[n * padded + k + j];
                    float g = float32_edge_g32(f.t, f.inverse, f.c, f.eps, means[j] * x);
                    fields[j] += x * g;
                    B += means[j] * g;
                }
                // The first tile of a group sets its part of B, the others add to it.
                if (B_parts) {
                    float* part = B_parts + (group * samples + n) * inputs + i;
                    *part = k < groups * TILE ? B : *part + B;
                }
            }
            // The part of H that is due to this chunk of samples.
            for (int j = 0; j < TILE; j++)
                if (k + j < outputs) H_parts[(chunk * outputs + k + j) * inputs + i] = fields[j];
        }
    }
}

// Sum over the first axis of (count, size).
KERNEL sum_parts(Index size, Index count, const float* parts, float* out) {
    EACH(e, size) {
        float total = 0.0f;
        for (Index part = 0; part < count; part++) total += parts[part * size + e];
        out[e] = total;
    }
}

// The same for (count, columns, rows), transposed to (rows, columns).
KERNEL sum_parts_transposed(Index size, Index count, Index rows, const float* parts, float* out) {
    EACH(e, size) {
        Index i = e % rows, n = e / rows;
        float total = 0.0f;
        for (Index part = 0; part < count; part++) total += parts[part * size + e];
        out[i * (size / rows) + n] = total;
    }
}
