/*
 * scene_lake.c - a mountain lake with conifers and snow on a summer evening.
 *
 * The land and, apart, the trees on it are drawn into height maps that rays are marched through; a
 * tree is a cone with a ragged outline.  Light is the sun with shadows marched towards it, the sky
 * above, and haze that thickens with distance; the water mirrors all of it in small waves.
 */
#include "samples/render/render.h"
#include <stdlib.h>

/* metres; the lake's surface is at 0, the camera looks towards -z */
static const v3 sun_to = {-0.80f, 0.34f, -0.05f};
static const float far_away = 14000;

static float land_height(float x, float z, int octaves) {
    v3 p = v(x / 2600 + 3.3f, 0.37f, z / 2600 + 8.15f);
    v3 bend = v(fbm(scale(p, 2.1f), 3, 0.5f), 0, fbm(add(scale(p, 2.1f), v(7, 3, 1)), 3, 0.5f));
    float peaks = ridged(add(p, scale(bend, 0.13f)), octaves);
    float distance = sqrtf(x * x + (z + 900) * (z + 900));
    /* a basin for the lake, wide towards the camera; mountains rise behind */
    float rise = step_smooth(500, 5200, distance + 0.25f * x * (x > 0 ? 1.0f : -0.6f));
    float shore = 26 * fbm(v(x / 210, 2, z / 210), octaves > 6 ? 6 : octaves, 0.5f);
    float basin = step_smooth(560, 1350, distance + 190 * fbm(v(x / 620, 6, z / 620), 3, 0.5f));
    return -22 + 62 * basin + shore * (0.3f + basin) + 1750 * rise * (peaks - 0.13f);
}

enum { LAND = 3584, WOOD = 4096 };
static const float land_cell = 4, land_x = -7168, land_z = -13300; /* metres; corner of the map */
static const float wood_x = -2048, wood_z = -3860;                 /* cells of 1 m */

typedef struct tree {
    uint16_t top; /* height of its surface above the ground in cm, 0 beside it */
    uint16_t id;
} tree;

static float *land_map;
static tree *wood_map;

static float ground_at(float x, float z) {
    float u = clampf((x - land_x) / land_cell, 0, LAND - 2),
          w = clampf((z - land_z) / land_cell, 0, LAND - 2);
    int i = (int)u, j = (int)w;
    const float *m = land_map + (size_t)j * LAND + i;
    return mixf(mixf(m[0], m[1], u - (float)i), mixf(m[LAND], m[LAND + 1], u - (float)i),
                w - (float)j);
}

static float slope_at(float x, float z, float e, v3 *n) {
    float dx = (ground_at(x + e, z) - ground_at(x - e, z)) / (2 * e);
    float dz = (ground_at(x, z + e) - ground_at(x, z - e)) / (2 * e);
    *n = unit(v(-dx, 1, -dz));
    return sqrtf(dx * dx + dz * dz);
}

static const tree *tree_cell(float x, float z) {
    static const tree none = {0, 0};
    float u = x - wood_x, w = z - wood_z;
    if (u < 0 || w < 0 || u >= WOOD || w >= WOOD)
        return &none;
    return &wood_map[(size_t)w * WOOD + (size_t)u];
}

static float tree_top(float x, float z) {
    x -= 0.5f, z -= 0.5f;
    float u = x - floorf(x), w = z - floorf(z);
    return 0.01f * mixf(mixf(tree_cell(x, z)->top, tree_cell(x + 1, z)->top, u),
                        mixf(tree_cell(x, z + 1)->top, tree_cell(x + 1, z + 1)->top, u), w);
}

/* Trees stand where it is neither wet, steep, nor high, in groves. */
static void plant(int32_t i, int32_t j) {
    const float cell = 5.2f;
    uint32_t id = hash3(i, j, 1234);
    float x = ((float)i + hash_unit(id, 1)) * cell, z = ((float)j + hash_unit(id, 2)) * cell;
    v3 n;
    float ground = ground_at(x, z), slope = slope_at(x, z, 12, &n);
    float grove = fbm(v(x / 160, 5, z / 160), 4, 0.55f);
    float density = step_smooth(1.2f, 5, ground) * step_smooth(720, 380, ground + 260 * grove) *
                    step_smooth(1.25f, 0.85f, slope) * step_smooth(-0.45f, 0, grove);
    if (hash_unit(id, 3) > density)
        return;
    float tall = 8 + 17 * hash_unit(id, 4) * (0.4f + 0.6f * hash_unit(id, 5)),
          wide = 1.5f + 0.115f * tall;
    for (float pz = floorf(z - wide) + 0.5f; pz < z + wide; pz++)
        for (float px = floorf(x - wide) + 0.5f; px < x + wide; px++) {
            float dx = px - x, dz = pz - z, d = sqrtf(dx * dx + dz * dz) / wide;
            tree *t = (tree *)tree_cell(px, pz);
            if (d >= 1 || px < wood_x || pz < wood_z || px >= wood_x + WOOD || pz >= wood_z + WOOD)
                continue;
            /* branches: uneven around the stem and along it */
            float ragged = 0.35f * sinf(atan2f(dz, dx) * 5 + hash_unit(id, 6) * 9) +
                           noise(v(px * 0.9f, 3, pz * 0.9f));
            float h = tall * (1 - d) + ragged * 2.2f * d;
            if (h * 100 > t->top)
                *t = (tree){(uint16_t)(h * 100), (uint16_t)id};
        }
}

static bool draw_maps(void) {
    land_map = malloc(sizeof *land_map * LAND * LAND);
    wood_map = calloc((size_t)WOOD * WOOD, sizeof *wood_map);
    if (land_map == NULL || wood_map == NULL)
        return false;
#pragma omp parallel for schedule(dynamic, 16)
    for (int j = 0; j < LAND; j++)
        for (int i = 0; i < LAND; i++)
            land_map[(size_t)j * LAND + i] =
                land_height(land_x + land_cell * (float)i, land_z + land_cell * (float)j, 10);
    for (int32_t j = (int32_t)(wood_z / 5.2f); j < (int32_t)((wood_z + WOOD) / 5.2f); j++)
        for (int32_t i = (int32_t)(wood_x / 5.2f); i < (int32_t)((wood_x + WOOD) / 5.2f); i++)
            plant(i, j);
    return true;
}

/* March to the land, its trees or, for shadows, either.  Returns the distance or -1. */
static float march(ray r, float from, float to, float precision) {
    float t = from;
    for (int i = 0; i < 900 && t < to; i++) {
        v3 p = add(r.o, scale(r.d, t));
        if (p.y > 2400 && r.d.y > 0)
            return -1;
        float above = p.y - ground_at(p.x, p.z), least = precision * t + 0.05f;
        if (above < least)
            return t;
        if (above < 28) {
            float clear = above - tree_top(p.x, p.z);
            if (clear < least)
                return t;
            t += fmaxf(least, fminf(clear * 0.4f, 0.9f + 0.0012f * t));
        } else {
            t += fmaxf(least, fminf(above * 0.3f, above - 27));
        }
    }
    return -1;
}

static v3 sky(v3 d) {
    float up = fmaxf(d.y, 0.004f), toward = fmaxf(dot(d, unit(sun_to)), 0);
    v3 colour = mix(v(0.98f, 0.70f, 0.47f), v(0.15f, 0.29f, 0.58f),
                    powf(step_smooth(-0.12f, 0.62f, up), 0.75f));
    colour =
        add(colour, scale(v(1.0f, 0.62f, 0.30f), 0.75f * powf(toward, 6) + 0.3f * powf(toward, 2)));
    /* two decks of cloud on planes above; the side towards the sun is lit */
    for (int deck = 0; deck < 2; deck++) {
        float high = deck == 0 ? 3.4f : 1.35f;
        v3 p = v(d.x / (up + 0.055f) * high * 0.36f + 9.4f, 1 + (float)deck,
                 d.z / (up + 0.055f) * high * 0.36f);
        v3 bend =
            v(p.x + 0.45f * fbm(v(p.x, 7, p.z), 3, 0.5f), p.y, p.z * (deck == 0 ? 1.7f : 1.0f));
        float thick = fbm(bend, 8, 0.54f);
        float lit = thick - fbm(add(bend, scale(unit(sun_to), 0.22f)), 6, 0.54f);
        float cover = step_smooth(deck == 0 ? -0.05f : 0.05f, deck == 0 ? 0.75f : 0.42f, thick) *
                      step_smooth(0, 0.09f, up);
        v3 shade =
            mix(v(0.42f, 0.38f, 0.46f), v(1.35f, 0.93f, 0.62f), clampf(0.52f + 1.3f * lit, 0, 1));
        shade = add(shade, scale(v(1, 0.6f, 0.3f), 0.8f * powf(toward, 5)));
        colour = mix(colour, shade, cover * (deck == 0 ? 0.5f : 0.86f));
    }
    return colour;
}

static v3 haze(v3 colour, v3 d, float t, float y) {
    float thick = 1 - expf(-t / (15000 + 18 * fmaxf(y, 0)));
    float toward = fmaxf(dot(d, unit(sun_to)), 0);
    return mix(colour, add(v(0.42f, 0.45f, 0.58f), scale(v(0.75f, 0.42f, 0.18f), powf(toward, 3))),
               thick);
}

static float ground_detail(v3 p) {
    return 1.5f * fbm(scale(p, 1 / 14.0f), 5, 0.5f);
}

static v3 shade_land(const ray *r, float t, bool mirror) {
    v3 p = add(r->o, scale(r->d, t)), n;
    float ground = ground_at(p.x, p.z), slope = slope_at(p.x, p.z, land_cell, &n);
    const tree *k = tree_cell(p.x, p.z);
    float mottle = fbm(scale(p, 1 / 9.0f), 6, 0.6f), patch = fbm(scale(p, 1 / 90.0f), 5, 0.55f);
    v3 colour;
    float bright = 1;
    if (p.y > ground + 0.5f && tree_top(p.x, p.z) > 0.5f) {
        float hue = hash_unit(k->id, 8) * hash_unit(k->id, 9);
        colour = mix(v(0.026f, 0.045f, 0.018f), v(0.085f, 0.092f, 0.027f), hue);
        if (hash_unit(k->id, 10) > 0.95f)
            colour = v(0.20f, 0.11f, 0.025f); /* a larch that has turned */
        bright =
            (0.3f + 0.7f * clampf((p.y - ground) / 13, 0, 1)) * (1 + 0.7f * noise(scale(p, 1.1f)));
        float x = tree_top(p.x + 0.7f, p.z) - tree_top(p.x - 0.7f, p.z);
        float z = tree_top(p.x, p.z + 0.7f) - tree_top(p.x, p.z - 0.7f);
        n = unit(v(-x * 0.35f, 1, -z * 0.35f));
    } else {
        if (!mirror)
            n = bump(n, p, ground_detail, 0.25f + 0.0008f * t);
        v3 grass = mix(v(0.10f, 0.105f, 0.03f), v(0.21f, 0.165f, 0.065f),
                       step_smooth(-0.4f, 0.5f, patch + 0.4f * mottle));
        float layers = noise(v(p.x / 160, p.y / 13 + 2 * patch, p.z / 160));
        v3 rock = scale(mix(v(0.21f, 0.195f, 0.185f), v(0.34f, 0.30f, 0.26f),
                            clampf(0.5f + layers + 0.4f * mottle, 0, 1)),
                        1 + 0.35f * mottle);
        float steep = step_smooth(
            0.55f, 1.0f, slope + 0.25f * mottle + step_smooth(450, 1000, p.y + 200 * patch) * 0.5f);
        colour = mix(scale(grass, 1 + 0.5f * mottle), rock, steep);
        float snow = step_smooth(470, 760, p.y + 220 * patch + 60 * mottle - 60 * n.x) *
                     step_smooth(1.35f, 0.75f, slope + 0.2f * mottle);
        colour = mix(colour, v(0.86f, 0.88f, 0.92f), snow);
        float gravel = step_smooth(3.0f, 0.8f, p.y - 0.6f * mottle);
        colour = mix(colour, scale(v(0.30f, 0.27f, 0.23f), 1 + 0.6f * mottle), gravel);
        colour = scale(colour, mixf(1, 0.5f, step_smooth(0.9f, 0.1f, p.y))); /* wet at the edge */
    }
    v3 sun = unit(sun_to);
    float cosine = fmaxf(dot(n, sun), 0);
    if (cosine > 0) {
        ray s = {add(p, add(scale(n, 0.5f + 0.001f * t), v(0, 0.4f, 0))), sun};
        if (march(s, 2 + 0.001f * t, 4500, mirror ? 0.006f : 0.002f) > 0)
            cosine = 0;
    }
    v3 light = add(scale(v(3.3f, 2.05f, 1.12f), cosine),
                   scale(v(0.36f, 0.44f, 0.66f), 0.55f + 0.45f * n.y));
    light = add(light, scale(v(0.30f, 0.2f, 0.12f),
                             clampf(-n.x * 0.5f + 0.3f, 0, 1))); /* the bright side of the sky */
    return haze(scale(mul(colour, light), clampf(bright, 0.1f, 1.7f)), r->d, t, p.y);
}

static float wave_height(v3 p) {
    float calm = 0.35f + 0.65f * step_smooth(-0.25f, 0.35f, fbm(v(p.x / 90, 3, p.z / 40), 3, 0.5f));
    return calm * (0.0075f * noise(v(p.x * 0.9f, 1, p.z * 1.4f)) +
                   0.0036f * fbm(v(p.x * 2.2f, 4, p.z * 3.6f), 3, 0.5f) +
                   0.014f * noise(v(p.x * 0.16f, 8, p.z * 0.3f)));
}

static v3 radiance(const scene *s, ray r, sampler *random) {
    (void)s;
    (void)random;
    float water = r.d.y < -1e-5f ? -r.o.y / r.d.y : -1;
    float t = march(r, 1, water > 0 ? fminf(water, far_away) : far_away, 0.0004f);
    if (t > 0)
        return shade_land(&r, t, false);
    if (water <= 0)
        return sky(r.d);
    v3 p = add(r.o, scale(r.d, water));
    float e = 0.03f + 0.0006f * water, h = wave_height(p), soften = 1 / (1 + water / 260);
    v3 n = unit(v(-(wave_height(v(p.x + e, 0, p.z)) - h) / e * soften, 1,
                  -(wave_height(v(p.x, 0, p.z + e)) - h) / e * soften));
    v3 d = sub(r.d, scale(n, 2 * dot(r.d, n)));
    d.y = fabsf(d.y) + 1e-3f;
    ray m = {add(p, v(0, 0.05f, 0)), unit(d)};
    float at = march(m, 1, far_away, 0.001f);
    v3 seen = at > 0 ? shade_land(&m, at, true) : sky(m.d);
    float facing = clampf(-dot(r.d, n), 0, 1), f = 0.02f + 0.98f * powf(1 - facing, 5);
    float depth = clampf(-ground_at(p.x, p.z), 0, 30);
    float stones = fbm(scale(p, 0.8f), 5, 0.6f);
    v3 bed = scale(v(0.20f, 0.17f, 0.11f), 1 + 0.7f * stones);
    v3 below = mix(v(0.012f, 0.040f, 0.046f), bed, expf(-depth / 1.6f));
    return haze(add(scale(seen, f), scale(below, 1 - f)), r.d, water, 0);
}

bool scene_lake(scene *s) {
    if (!draw_maps())
        return false;
    s->eye = v(60, 9, -330);
    s->target = v(-30, 70, -900);
    s->view = 0.62f;
    s->focus = 100;
    s->exposure = 1.2f;
    s->samples = 16;
    s->sky = sky;
    s->radiance = radiance;
    return true;
}
