/*
 * noise.c - hashes, gradient noise, its octaves, cells, and scrambled Sobol points.
 *
 * Perlin, "Improving Noise", 2002; Worley, "A Cellular Texture Basis Function", 1996; Burley,
 * "Practical Hash-based Owen Scrambling", 2020.
 */
#include "samples/render/render.h"

static uint32_t mix_bits(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

uint32_t hash3(int32_t x, int32_t y, int32_t z) {
    return mix_bits((uint32_t)x * 0x8DA6B343u ^ (uint32_t)y * 0xD8163841u ^
                    (uint32_t)z * 0xCB1AB31Fu);
}

float hash_unit(uint32_t seed, uint32_t dimension) {
    return (float)(mix_bits(seed + dimension * 0x9E3779B9u) >> 8) * 0x1p-24f;
}

static float fade(float t) {
    return t * t * t * (t * (t * 6 - 15) + 10);
}

static float corner(int32_t x, int32_t y, int32_t z, float dx, float dy, float dz) {
    switch (hash3(x, y, z) >> 28) { /* the edges of a cube, four of them twice */
    case 0:
    case 12:
        return dx + dy;
    case 1:
    case 13:
        return -dx + dy;
    case 2:
        return dx - dy;
    case 3:
        return -dx - dy;
    case 4:
        return dx + dz;
    case 5:
        return -dx + dz;
    case 6:
        return dx - dz;
    case 7:
        return -dx - dz;
    case 8:
        return dy + dz;
    case 9:
    case 14:
        return -dy + dz;
    case 10:
        return dy - dz;
    default:
        return -dy - dz;
    }
}

float noise(v3 p) {
    float fx = floorf(p.x), fy = floorf(p.y), fz = floorf(p.z);
    int32_t x = (int32_t)fx, y = (int32_t)fy, z = (int32_t)fz;
    float dx = p.x - fx, dy = p.y - fy, dz = p.z - fz;
    float u = fade(dx), w = fade(dy), t = fade(dz);
    float near = mixf(
        mixf(corner(x, y, z, dx, dy, dz), corner(x + 1, y, z, dx - 1, dy, dz), u),
        mixf(corner(x, y + 1, z, dx, dy - 1, dz), corner(x + 1, y + 1, z, dx - 1, dy - 1, dz), u),
        w);
    float far = mixf(
        mixf(corner(x, y, z + 1, dx, dy, dz - 1), corner(x + 1, y, z + 1, dx - 1, dy, dz - 1), u),
        mixf(corner(x, y + 1, z + 1, dx, dy - 1, dz - 1),
             corner(x + 1, y + 1, z + 1, dx - 1, dy - 1, dz - 1), u),
        w);
    return mixf(near, far, t);
}

/* A turn between octaves keeps the lattice from showing. */
static v3 next_octave(v3 p) {
    return v(1.6f * p.y + 1.2f * p.z + 3.7f, -1.6f * p.x + 0.72f * p.y - 0.96f * p.z + 1.3f,
             -1.2f * p.x - 0.96f * p.y + 1.28f * p.z + 5.1f);
}

float fbm(v3 p, int octaves, float gain) {
    float sum = 0, strength = 1;
    for (int i = 0; i < octaves; i++) {
        sum += strength * noise(p);
        strength *= gain;
        p = next_octave(p);
    }
    return sum;
}

float ridged(v3 p, int octaves) {
    float sum = 0, strength = 0.5f, previous = 1;
    for (int i = 0; i < octaves; i++) {
        float ridge = 1 - fabsf(noise(p));
        ridge *= ridge;
        sum += strength * ridge * previous;
        previous = ridge;
        strength *= 0.5f;
        p = next_octave(p);
    }
    return sum;
}

cells worley2(float x, float y) {
    int32_t cx = (int32_t)floorf(x), cy = (int32_t)floorf(y);
    cells c = {9, 9, 0};
    for (int32_t j = cy - 1; j <= cy + 1; j++)
        for (int32_t i = cx - 1; i <= cx + 1; i++) {
            uint32_t id = hash3(i, j, 77);
            float dx = (float)i + hash_unit(id, 1) - x, dy = (float)j + hash_unit(id, 2) - y;
            float d = sqrtf(dx * dx + dy * dy);
            if (d < c.first)
                c = (cells){d, c.first, id};
            else if (d < c.second)
                c.second = d;
        }
    return c;
}

cells worley3(v3 p) {
    int32_t cx = (int32_t)floorf(p.x), cy = (int32_t)floorf(p.y), cz = (int32_t)floorf(p.z);
    cells c = {9, 9, 0};
    for (int32_t k = cz - 1; k <= cz + 1; k++)
        for (int32_t j = cy - 1; j <= cy + 1; j++)
            for (int32_t i = cx - 1; i <= cx + 1; i++) {
                uint32_t id = hash3(i, j, k);
                v3 at = v((float)i + hash_unit(id, 1), (float)j + hash_unit(id, 2),
                          (float)k + hash_unit(id, 3));
                float d = length(sub(at, p));
                if (d < c.first)
                    c = (cells){d, c.first, id};
                else if (d < c.second)
                    c.second = d;
            }
    return c;
}

static uint32_t reverse_bits(uint32_t x) {
    x = x << 16 | x >> 16;
    x = (x & 0x00FF00FFu) << 8 | (x & 0xFF00FF00u) >> 8;
    x = (x & 0x0F0F0F0Fu) << 4 | (x & 0xF0F0F0F0u) >> 4;
    x = (x & 0x33333333u) << 2 | (x & 0xCCCCCCCCu) >> 2;
    return (x & 0x55555555u) << 1 | (x & 0xAAAAAAAAu) >> 1;
}

static uint32_t scramble(uint32_t x, uint32_t seed) {
    x = reverse_bits(x) + seed;
    x ^= x * 0x6C50B47Cu;
    x ^= x * 0xB82F1E52u;
    x ^= x * 0xC7AFE638u;
    x ^= x * 0x8D22F6E6u;
    return reverse_bits(x);
}

void sample2(sampler *s, float *a, float *b) {
    uint32_t seed = mix_bits(s->seed + 0x9E3779B9u * ++s->dimension);
    uint32_t index = scramble(s->index, seed), second = 0;
    uint32_t first = reverse_bits(index);
    for (uint32_t bit = 1u << 31; index != 0; index >>= 1, bit ^= bit >> 1)
        if (index & 1)
            second ^= bit;
    *a = (float)(scramble(first, mix_bits(seed ^ 0x68BC21EBu)) >> 8) * 0x1p-24f;
    *b = (float)(scramble(second, mix_bits(seed ^ 0x02E5BE93u)) >> 8) * 0x1p-24f;
}
