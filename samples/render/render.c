/*
 * render.c - draws the project's sample pictures: render SCENE OUT.png [SAMPLES-PERCENT]
 *
 * A path tracer with one light sampled at every surface, glossy coats, metals and glass (GGX), a
 * thin lens, and a film curve.  The pictures are the project's own, so that the demo, the tests and
 * the benchmarks have photographs in character that are free of anybody's rights.
 */
#include "samples/render/render.h"
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 768, HEIGHT = 512, MAX_DEPTH = 9 };
static const float pi = 3.14159265f;

v3 bump(v3 n, v3 p, float (*height)(v3 p), float step) {
    float h = height(p);
    v3 slope = v((height(v(p.x + step, p.y, p.z)) - h) / step,
                 (height(v(p.x, p.y + step, p.z)) - h) / step,
                 (height(v(p.x, p.y, p.z + step)) - h) / step);
    slope = sub(slope, scale(n, dot(slope, n)));
    return unit(sub(n, slope));
}

static void basis(v3 n, v3 *a, v3 *b) {
    *a = unit(fabsf(n.x) > 0.7f ? cross(n, v(0, 1, 0)) : cross(n, v(1, 0, 0)));
    *b = cross(n, *a);
}

static v3 cosine_direction(v3 n, float a, float b) {
    v3 x, y;
    basis(n, &x, &y);
    float r = sqrtf(a), phi = 2 * pi * b;
    return add(add(scale(x, r * cosf(phi)), scale(y, r * sinf(phi))), scale(n, sqrtf(1 - a)));
}

static v3 ggx_half(v3 n, float roughness, float a, float b) {
    float alpha = roughness * roughness, phi = 2 * pi * b;
    float c = sqrtf((1 - a) / (1 + (alpha * alpha - 1) * a)), s = sqrtf(fmaxf(0, 1 - c * c));
    v3 x, y;
    basis(n, &x, &y);
    return add(add(scale(x, s * cosf(phi)), scale(y, s * sinf(phi))), scale(n, c));
}

static float fresnel(float f0, float cosine) {
    return f0 + (1 - f0) * powf(clampf(1 - cosine, 0, 1), 5);
}

static v3 reflect(v3 d, v3 n) {
    return sub(d, scale(n, 2 * dot(d, n)));
}

/* GGX times cosine, without Fresnel. */
static float ggx_lobe(v3 n, v3 out, v3 in, float roughness) {
    v3 h = unit(add(out, in));
    float alpha = fmaxf(roughness * roughness, 2e-3f), a2 = alpha * alpha;
    float nh = dot(n, h), no = fmaxf(dot(n, out), 1e-3f), ni = fmaxf(dot(n, in), 1e-3f);
    float d = nh * nh * (a2 - 1) + 1, k = alpha / 2;
    return a2 / (pi * d * d) / (4 * (no * (1 - k) + k) * (ni * (1 - k) + k)) * ni;
}

/* What a shadow ray brings through: glass only tints. */
static v3 visible(const scene *s, ray r, float limit) {
    v3 through = v(1, 1, 1);
    hit h;
    for (int i = 0; i < 8; i++) {
        if (!world_trace(s->world, &r, limit, &h))
            return through;
        if (!h.object->glass)
            return v(0, 0, 0);
        surface m = {.tint = v(1, 1, 1)};
        s->material(&h, &m);
        float slant = fabsf(dot(h.n, r.d));
        through = scale(mul(through, mix(m.tint, v(1, 1, 1), 0.5f)), 0.5f + 0.5f * slant);
        r.o = add(h.p, scale(r.d, 1e-3f));
        limit -= h.t + 1e-3f;
    }
    return v(0, 0, 0);
}

/* Light from the sun or the window on a surface, through its diffuse and glossy parts. */
static v3 direct(const scene *s, const hit *h, const surface *m, v3 geometric, v3 out, sampler *q) {
    float a, b, distance = 1e4f;
    v3 to, light;
    sample2(q, &a, &b);
    if (s->sun_radius > 0) {
        v3 x, y;
        basis(s->sun_direction, &x, &y);
        float r = s->sun_radius * sqrtf(a), phi = 2 * pi * b;
        to = unit(add(s->sun_direction, add(scale(x, r * cosf(phi)), scale(y, r * sinf(phi)))));
        light = s->sun_strength;
    } else {
        v3 at = add(s->window_corner, add(scale(s->window_u, a), scale(s->window_v, b)));
        v3 area = cross(s->window_u, s->window_v);
        to = sub(at, h->p);
        distance = length(to);
        to = scale(to, 1 / distance);
        float facing = fabsf(dot(to, area));
        light = scale(s->window_strength, facing / (distance * distance));
        distance -= 1e-3f;
    }
    float cosine = dot(h->n, to);
    if (cosine <= 0 || dot(geometric, to) <= 0)
        return v(0, 0, 0);
    v3 result = v(0, 0, 0);
    float facing = fmaxf(dot(unit(add(out, to)), to), 0);
    if (m->metal) {
        float f = powf(1 - facing, 5);
        result = scale(mix(m->albedo, v(1, 1, 1), f), ggx_lobe(h->n, out, to, m->roughness));
    } else {
        float f = m->gloss > 0 ? fresnel(m->gloss, facing) : 0;
        result = scale(m->albedo, (1 - f) * cosine / pi);
        if (f > 0) {
            float lobe = f * ggx_lobe(h->n, out, to, m->roughness);
            result = add(result, v(lobe, lobe, lobe));
        }
    }
    if (result.x + result.y + result.z < 1e-6f)
        return v(0, 0, 0);
    ray shadow = {add(h->p, scale(geometric, 2e-4f)), to};
    return mul(mul(result, light), visible(s, shadow, distance));
}

/* A window seen in a mirror or straight: its light, when nothing is nearer. */
static bool sees_window(const scene *s, const ray *r, float limit, v3 *light) {
    if (s->sun_radius > 0)
        return false;
    v3 n = cross(s->window_u, s->window_v);
    float t = dot(sub(s->window_corner, r->o), n) / dot(r->d, n);
    if (!(t > 1e-3f) || t >= limit)
        return false;
    v3 p = sub(add(r->o, scale(r->d, t)), s->window_corner);
    float a = dot(p, s->window_u) / dot(s->window_u, s->window_u);
    float b = dot(p, s->window_v) / dot(s->window_v, s->window_v);
    if (a < 0 || a > 1 || b < 0 || b > 1)
        return false;
    /* two glazing bars, for what shiny things show */
    bool bar = fabsf(a - 0.5f) < 0.02f || fabsf(b - 0.5f) < 0.015f;
    *light = bar ? scale(s->window_strength, 0.05f) : s->window_strength;
    return true;
}

/* Takes a rare bright path down to a peak, or it would stay as a speck. */
static v3 tame(v3 light, float most) {
    float peak = fmaxf(light.x, fmaxf(light.y, light.z));
    return peak > most ? scale(light, most / peak) : light;
}

static v3 trace_path(const scene *s, ray r, sampler *q) {
    v3 sum = v(0, 0, 0), weight = v(1, 1, 1);
    bool sharp = true; /* the last bounce could not sample the light itself */
    bool scattered =
        false; /* light that mirrors then throw on it (caustics) comes as rare specks */
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        hit h;
        v3 light;
        bool found = world_trace(s->world, &r, 1e4f, &h);
        if (sees_window(s, &r, found ? h.t : 1e4f, &light)) {
            if (sharp)
                sum = add(sum, tame(mul(weight, light), scattered ? 1 : 1e4f));
            break;
        }
        if (!found) {
            light = s->sky(r.d);
            if (sharp && depth > 0 && s->sun_radius > 0 &&
                dot(r.d, s->sun_direction) > cosf(atanf(s->sun_radius)))
                light = add(light, v(25, 23, 20));
            sum = add(sum, tame(mul(weight, light), scattered ? 3 : 1e4f));
            break;
        }
        surface m = {.albedo = v(0.5f, 0.5f, 0.5f), .roughness = 1, .tint = v(1, 1, 1)};
        v3 geometric = h.n;
        s->material(&h, &m);
        v3 out = scale(r.d, -1);
        float a, b, c, unused;
        sample2(q, &a, &b);
        sample2(q, &c, &unused);
        if (m.glass) {
            bool inside = dot(r.d, geometric) > 0;
            v3 n = inside ? scale(h.n, -1) : h.n;
            float ratio = inside ? 1.5f : 1 / 1.5f, cosine = dot(out, n);
            float root = 1 - ratio * ratio * (1 - cosine * cosine);
            float f = root <= 0 ? 1 : fresnel(0.04f, inside ? sqrtf(root) : cosine);
            if (inside)
                weight =
                    mul(weight, v(powf(m.tint.x, h.t), powf(m.tint.y, h.t), powf(m.tint.z, h.t)));
            r.d = c < f ? reflect(r.d, n)
                        : unit(add(scale(r.d, ratio), scale(n, ratio * cosine - sqrtf(root))));
            r.o = add(h.p, scale(r.d, 3e-4f));
            sharp = true;
            continue;
        }
        if (dot(geometric, r.d) > 0) {
            geometric = scale(geometric, -1);
            h.n = scale(h.n, -1);
        }
        if (dot(h.n, out) < 0.02f) /* a bent normal that faces away */
            h.n = unit(add(h.n, scale(out, 0.04f - dot(h.n, out))));
        bool mirror = (m.metal || m.gloss > 0) && m.roughness < 0.12f;
        surface lit = m;
        if (mirror) { /* its highlight comes from the path, not from the light */
            lit.gloss = 0;
            if (m.metal)
                lit.albedo = v(0, 0, 0), lit.metal = false;
        }
        v3 add_light = mul(weight, direct(s, &h, &lit, geometric, out, q));
        sum = add(sum, tame(add_light, scattered ? 2 : 1e4f));
        float f = m.metal ? 1 : m.gloss > 0 ? fresnel(m.gloss, dot(h.n, out)) : 0;
        float chance = m.metal ? 1 : f > 0 ? clampf(f, 0.15f, 0.9f) : 0;
        if (c < chance) {
            v3 half = ggx_half(h.n, m.roughness, a, b);
            r.d = reflect(r.d, half);
            if (dot(r.d, geometric) <= 0)
                break;
            float edge = powf(clampf(1 - dot(half, r.d), 0, 1), 5);
            weight =
                m.metal ? mul(weight, mix(m.albedo, v(1, 1, 1), edge)) : scale(weight, f / chance);
            sharp = mirror;
            scattered |= !mirror;
        } else {
            weight = scale(mul(weight, m.albedo), (1 - f) / (1 - chance));
            r.d = cosine_direction(h.n, a, b);
            if (dot(r.d, geometric) <= 0)
                break;
            sharp = false;
            scattered = true;
        }
        r.o = add(h.p, scale(geometric, 2e-4f));
        float keep = fmaxf(weight.x, fmaxf(weight.y, weight.z));
        if (depth > 2 && keep < 0.5f) {
            if (unused > keep * 2)
                break;
            weight = scale(weight, 0.5f / keep);
        }
    }
    return sum;
}

/* Film curve (Narkowicz, "ACES Filmic Tone Mapping Curve", 2016), then the sRGB transfer function.
 */
static unsigned char develop(float light, float exposure) {
    float x = fmaxf(light, 0) * exposure * 0.6f;
    x = clampf(x * (2.51f * x + 0.03f) / (x * (2.43f * x + 0.59f) + 0.14f), 0, 1);
    x = x <= 0.0031308f ? 12.92f * x : 1.055f * powf(x, 1 / 2.4f) - 0.055f;
    return (unsigned char)(x * 255 + 0.5f);
}

static void draw_row(const scene *s, int y, int samples, unsigned char *row) {
    v3 forward = unit(sub(s->target, s->eye)), right = unit(cross(forward, v(0, 1, 0)));
    v3 up = cross(right, forward);
    for (int x = 0; x < WIDTH; x++) {
        v3 sum = v(0, 0, 0);
        for (int i = 0; i < samples; i++) {
            sampler q = {hash3(x, y, 9), (uint32_t)i, 0};
            float a, b, c, d;
            sample2(&q, &a, &b);
            sample2(&q, &c, &d);
            /* tent filter, a little over one pixel wide */
            a = a < 0.5f ? sqrtf(2 * a) - 1 : 1 - sqrtf(2 - 2 * a);
            b = b < 0.5f ? sqrtf(2 * b) - 1 : 1 - sqrtf(2 - 2 * b);
            float px = ((float)x + 0.5f + 0.75f * a - WIDTH / 2.0f) / HEIGHT * s->view;
            float py = (HEIGHT / 2.0f - (float)y - 0.5f - 0.75f * b) / HEIGHT * s->view;
            v3 d0 = add(forward, add(scale(right, px), scale(up, py)));
            float lens = s->aperture * sqrtf(c), phi = 2 * pi * d;
            v3 shift = add(scale(right, lens * cosf(phi)), scale(up, lens * sinf(phi)));
            ray r = {add(s->eye, shift), unit(sub(scale(d0, s->focus), shift))};
            v3 light = s->radiance != NULL ? s->radiance(s, r, &q) : trace_path(s, r, &q);
            if (isfinite(light.x + light.y + light.z)) {
                float peak = fmaxf(light.x, fmaxf(light.y, light.z)) * s->exposure;
                sum = add(sum, scale(light, peak > 12 ? 12 / peak : 1));
            }
        }
        sum = scale(sum, 1 / (float)samples);
        row[3 * x] = develop(sum.x, s->exposure);
        row[3 * x + 1] = develop(sum.y, s->exposure);
        row[3 * x + 2] = develop(sum.z, s->exposure);
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        bool (*make)(scene *);
    } scenes[] = {{"stilllife", scene_stilllife}, {"lake", scene_lake}, {"pebbles", scene_pebbles}};
    const size_t count = sizeof scenes / sizeof *scenes;
    scene s = {.focus = 1, .exposure = 1, .samples = 64, .view = 1};
    size_t which = 0;
    while (argc >= 3 && which < count && strcmp(argv[1], scenes[which].name) != 0)
        which++;
    if (argc < 3 || which == count) {
        fprintf(stderr, "usage: render stilllife|lake|pebbles OUT.png [SAMPLES-PERCENT]\n");
        return 2;
    }
    unsigned char *pixels = malloc((size_t)WIDTH * HEIGHT * 3);
    if (pixels == NULL || !scenes[which].make(&s)) {
        fprintf(stderr, "render: out of memory\n");
        return 1;
    }
    int samples = s.samples * (argc > 3 ? atoi(argv[3]) : 100) / 100;
    samples = samples < 1 ? 1 : samples;
#pragma omp parallel for schedule(dynamic, 4)
    for (int y = 0; y < HEIGHT; y++)
        draw_row(&s, y, samples, pixels + (size_t)y * WIDTH * 3);
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT, .format = PNG_FORMAT_RGB};
    int written = png_image_write_to_file(&image, argv[2], 0, pixels, 0, NULL);
    if (!written)
        fprintf(stderr, "render: %s: %s\n", argv[2], image.message);
    world_free(s.world);
    free(pixels);
    return written ? 0 : 1;
}
