/*
 * scene_pebbles.c - a shingle beach in low sun, wet towards one corner, seen from above at a slant.
 *
 * Stones are dropped one by one onto a height map that remembers what lies there: a bed of middling
 * ones, some large ones, then the small ones, which roll to the lowest of a few places and fill the
 * gaps.
 */
#include "samples/render/render.h"
#include <stdlib.h>

enum { MAP = 512, STONES = 15000 };
static const float map_side = 2.6f; /* metres */

static v3 sky(v3 d) {
    float up = fmaxf(d.y, 0);
    v3 blue = mix(v(0.95f, 0.85f, 0.72f), v(0.25f, 0.42f, 0.78f), powf(up, 0.5f));
    float cloud = fbm(v(d.x / (up + 0.2f) * 2, d.z / (up + 0.2f) * 2, 4), 5, 0.5f);
    return scale(mix(blue, v(1.1f, 1.05f, 1), step_smooth(0, 0.5f, cloud)), 0.55f);
}

static float stone_height(v3 p) {
    return 0.0005f * fbm(scale(p, 60), 5, 0.55f) -
           0.0004f * step_smooth(0.3f, 0.55f, noise(scale(p, 200)));
}

static float sand_height(v3 p) {
    return 0.004f * fbm(scale(p, 25), 4, 0.5f) + 0.0016f * noise(scale(p, 500));
}

static float wetness(v3 p) {
    return step_smooth(-0.10f, 0.10f,
                       p.x * 0.75f + p.z * 0.35f - 0.08f + 0.22f * fbm(scale(p, 2.2f), 3, 0.5f));
}

static void material(hit *h, surface *s) {
    v3 p = h->p;
    float wet = wetness(v(p.x, 0, p.z));
    s->roughness = 0.7f;
    if (h->object->material == 0) {
        float grain = 0.5f + 0.5f * noise(scale(p, 700)), tone = fbm(scale(p, 8), 5, 0.6f);
        s->albedo =
            scale(mix(v(0.30f, 0.22f, 0.15f), v(0.46f, 0.38f, 0.28f), grain), 1 + 0.3f * tone);
        h->n = bump(h->n, p, sand_height, 4e-4f);
    } else {
        static const v3 kinds[] = {
            {0.36f, 0.34f, 0.32f}, {0.21f, 0.21f, 0.23f}, {0.48f, 0.40f, 0.31f},
            {0.40f, 0.24f, 0.17f}, {0.62f, 0.59f, 0.54f}, {0.27f, 0.29f, 0.26f},
            {0.13f, 0.13f, 0.14f}, {0.50f, 0.34f, 0.25f}, {0.34f, 0.30f, 0.33f}};
        uint32_t seed = h->object->seed;
        v3 q = add(h->local,
                   v(13 * hash_unit(seed, 20), 17 * hash_unit(seed, 21), 11 * hash_unit(seed, 22)));
        v3 colour = kinds[(int)(hash_unit(seed, 5) * 8.99f)];
        colour = mix(colour, kinds[(int)(hash_unit(seed, 6) * 8.99f)], 0.25f * hash_unit(seed, 7));
        float kind = hash_unit(seed, 8);
        /* clouds of tone, then layers, specks or veins, as the stone's kind has it */
        float tone = 1 + 0.32f * fbm(scale(q, 28), 6, 0.62f);
        v3 bent =
            add(q, scale(v(noise(scale(q, 18)), noise(scale(q, 19)), noise(scale(q, 17))), 0.012f));
        if (kind < 0.3f) {
            tone *= 0.85f + 0.35f * step_smooth(-0.3f, 0.4f,
                                                noise(v(bent.x * 6, bent.y * 190, bent.z * 6)));
        } else if (kind < 0.62f) {
            cells c = worley3(scale(q, 420));
            float speck = hash_unit(c.id, 4);
            tone *= speck < 0.28f ? 0.45f : speck > 0.78f ? 1.5f : 1;
        }
        if (hash_unit(seed, 9) < 0.33f) {
            v3 across = unit(v(hash_unit(seed, 10) - 0.5f, hash_unit(seed, 11) - 0.5f,
                               hash_unit(seed, 12) - 0.5f));
            float line =
                fabsf(dot(bent, across) + 0.4f * (hash_unit(seed, 13) - 0.5f) * h->object->half.x);
            float vein = step_smooth(0.0026f, 0.0012f, line + 0.0008f * noise(scale(q, 200)));
            colour = mix(colour, v(0.75f, 0.72f, 0.67f), 0.85f * vein);
        }
        s->albedo = scale(colour, tone);
        h->n = bump(h->n, q, stone_height, 5e-4f);
        s->gloss = 0.03f;
        s->roughness = 0.55f;
    }
    /* water in the pores darkens, deepens the colour and makes a mirror of the top */
    v3 deep = mul(s->albedo, mix(v(0.5f, 0.5f, 0.5f), s->albedo, 0.25f));
    s->albedo = mix(s->albedo, deep, wet);
    s->albedo = v(clampf(s->albedo.x, 0.01f, 0.9f), clampf(s->albedo.y, 0.01f, 0.9f),
                  clampf(s->albedo.z, 0.01f, 0.9f));
    if (wet > 0.3f) {
        s->gloss = 0.035f * wet;
        s->roughness = mixf(0.5f, 0.16f, wet);
    }
}

static int to_cell(float x) {
    return (int)clampf((x / map_side + 0.5f) * MAP, 0, MAP - 1);
}

/* Height at which a stone of this footprint would lie. */
static float rest(v3 at, float r, const float *map) {
    int x0 = to_cell(at.x - r), x1 = to_cell(at.x + r);
    int z0 = to_cell(at.z - r), z1 = to_cell(at.z + r), n = 0;
    float sum = 0, top = -1;
    for (int z = z0; z <= z1; z++)
        for (int x = x0; x <= x1; x++, n++) {
            sum += map[z * MAP + x];
            top = fmaxf(top, map[z * MAP + x]);
        }
    return mixf(sum / (float)n, top, 0.3f);
}

/* Lets a stone rest on what is below its footprint, and raises the map to its back. */
static void drop(object *o, float *map) {
    float r = fminf(o->half.x, o->half.z);
    int x0 = to_cell(o->centre.x - r), x1 = to_cell(o->centre.x + r);
    int z0 = to_cell(o->centre.z - r), z1 = to_cell(o->centre.z + r);
    o->centre.y = rest(o->centre, r, map) + 0.5f * o->half.y;
    for (int z = z0; z <= z1; z++)
        for (int x = x0; x <= x1; x++) {
            float dx = (((float)x + 0.5f) / MAP - 0.5f) * map_side - o->centre.x;
            float dz = (((float)z + 0.5f) / MAP - 0.5f) * map_side - o->centre.z;
            float inside = 1 - (dx * dx + dz * dz) / (r * r);
            if (inside > 0)
                map[z * MAP + x] = fmaxf(map[z * MAP + x], o->centre.y + o->half.y * sqrtf(inside));
        }
}

bool scene_pebbles(scene *s) {
    object *objects = calloc(STONES + 1, sizeof *objects);
    float *map = calloc((size_t)MAP * MAP, sizeof *map);
    size_t count = 0;
    if (objects != NULL && map != NULL) {
        objects[count] =
            (object){.shape = SHAPE_BOX, .centre = v(0, -0.5f, 0), .half = v(6, 0.5f, 6)};
        object_turn(&objects[count++], 0, 0, 0);
        for (int i = 0; i < STONES; i++) {
            uint32_t seed = hash3(i, 5, 11);
            float spread = hash_unit(seed, 1), rank = (float)i / STONES, r;
            bool small = rank > 0.21f, large = !small && rank > 0.2f;
            if (large)
                r = 0.055f + 0.04f * spread * spread;
            else if (small)
                r = 0.004f + 0.013f * spread * spread * (1.3f - rank);
            else
                r = 0.016f + 0.026f * powf(spread, 2.5f);
            object o = {.shape = SHAPE_ELLIPSOID, .material = 1, .seed = seed};
            o.half =
                v(r * (1 + 0.45f * hash_unit(seed, 4)), r * (0.4f + 0.25f * hash_unit(seed, 15)),
                  r * (0.8f + 0.2f * hash_unit(seed, 14)));
            object_turn(&o, 6.28f * hash_unit(seed, 16), 0.5f * (hash_unit(seed, 17) - 0.5f),
                        0.5f * (hash_unit(seed, 18) - 0.5f));
            float lowest = 1e9f;
            for (uint32_t k = 0; k < (large ? 1u : small ? 24u : 10u); k++) {
                float x = (hash_unit(seed, 100 + k) - 0.5f) * map_side;
                float z = (hash_unit(seed, 200 + k) - 0.5f) * map_side;
                float y = rest(v(x, 0, z), r, map);
                if (y < lowest) {
                    lowest = y;
                    o.centre = v(x, 0, z);
                }
            }
            drop(&o, map);
            objects[count++] = o;
        }
        s->world = world_create(objects, count);
    }
    free(objects);
    free(map);
    s->eye = v(0.02f, 0.68f, 0.86f);
    s->target = v(0, 0.04f, 0.08f);
    s->view = 0.66f;
    s->aperture = 0.007f;
    s->focus = 0.98f;
    s->exposure = 1.25f;
    s->samples = 48;
    s->sun_direction = unit(v(-0.75f, 0.52f, -0.32f));
    s->sun_strength = scale(v(1, 0.86f, 0.66f), 5.2f);
    s->sun_radius = 0.02f;
    s->sky = sky;
    s->material = material;
    return s->world != NULL;
}
