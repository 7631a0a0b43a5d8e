/*
 * scene_stilllife.c - fruit, a copper bowl, a glass bottle, books and dried grasses on a wooden
 * table, lit by a window on the left.
 */
#include "samples/render/render.h"
#include <stdlib.h>

enum {
    TABLE,
    WALL,
    VASE,
    APPLE,
    STALK,
    LEMON,
    BOTTLE,
    BOWL,
    NUT,
    BOOK,
    GRAPE,
    GRASS,
    MAX_OBJECTS = 1400
};

static v3 sky(v3 d) { /* the room behind the camera, dim and warm */
    return scale(
        mix(v(0.10f, 0.075f, 0.055f), v(0.22f, 0.20f, 0.18f), clampf(0.5f + 0.5f * d.y, 0, 1)),
        0.9f);
}

/* ---- shapes: surfaces of revolution given by their outline ---- */

static float around(v3 p) {
    return sqrtf(p.x * p.x + p.z * p.z);
}

static float vase_field(v3 p) { /* 0.30 high, centred */
    float y = p.y / 0.15f;
    float r = 0.047f + 0.034f * expf(-(y + 0.25f) * (y + 0.25f) * 3.2f) -
              0.022f * step_smooth(0.1f, 0.75f, y) + 0.012f * step_smooth(0.78f, 1, y) -
              0.018f * step_smooth(-0.7f, -1, y);
    float side = around(p) - r, flat = fabsf(p.y) - 0.15f;
    float hole = fmaxf(around(p) - r + 0.006f, 0.02f - p.y);
    return 0.7f * fmaxf(fmaxf(side, flat), -hole);
}

static float bottle_field(v3 p) { /* 0.32 high, hollow */
    float y = p.y + 0.16f;
    float r =
        0.036f - 0.0225f * step_smooth(0.185f, 0.235f, y) + 0.003f * step_smooth(0.300f, 0.303f, y);
    float side = around(p) - r, ends = fabsf(p.y) - 0.158f;
    float q = sqrtf(fmaxf(side, 0) * fmaxf(side, 0) + fmaxf(ends, 0) * fmaxf(ends, 0)) +
              fminf(fmaxf(side, ends), 0);
    return 0.75f * fmaxf(fabsf(q) - 0.0018f, p.y - 0.1565f);
}

static float apple_field(v3 p) {
    float r = length(p), angle = acosf(clampf(p.y / fmaxf(r, 1e-5f), -1, 1));
    float turn = atan2f(p.z, p.x);
    float radius = 0.0405f * (1 - 0.50f * expf(-angle * angle * 7) + 0.07f * sinf(angle) -
                              0.22f * expf(-(angle - 3.1416f) * (angle - 3.1416f) * 9)) +
                   0.0010f * sinf(5 * turn + 1) * step_smooth(1.2f, 2.8f, angle);
    return 0.6f * (r - radius);
}

static float lemon_field(v3 p) { /* along x */
    float x = p.x / 0.047f, r = sqrtf(p.y * p.y + p.z * p.z);
    float body = 0.031f * sqrtf(fmaxf(1 - x * x, 0)), past = (fabsf(x) - 0.86f) / 0.26f;
    float tip = 0.0078f * sqrtf(fmaxf(1 - past * past, 0));
    float blend = step_smooth(-0.006f, 0.006f, tip - body);
    return 0.45f * fmaxf(r - mixf(body, tip, blend), fabsf(p.x) - 0.0528f);
}

static float bowl_field(v3 p) { /* open above, 0.11 wide */
    v3 q = v(p.x, p.y - 0.055f, p.z);
    float shell = fabsf(length(v(q.x, q.y * 1.15f, q.z)) - 0.112f) - 0.0022f;
    float lip = length(v(around(q) - 0.112f, q.y + 0.002f, 0)) - 0.0048f;
    float foot = fmaxf(around(q) - 0.05f, fabsf(q.y + 0.096f) - 0.006f);
    return 0.8f * fminf(fminf(fmaxf(shell, q.y), lip), foot);
}

/* ---- materials ---- */

static float plank_of(v3 p) {
    return floorf(p.z / 0.135f);
}

static float grain(v3 p) {
    float k = plank_of(p);
    v3 q = v(p.x * 1.1f + 7.7f * k, p.y + 3 * k, p.z * 9 + 5.3f * k);
    float bend = 0.5f * fbm(scale(q, 0.8f), 3, 0.5f);
    float knot = noise(v(q.x * 1.6f, 2, q.z * 0.9f));
    return (q.z + bend + 0.5f * knot * knot * knot * 4) * 3.2f;
}

static float wood_height(v3 p) {
    float edge = fabsf(p.z / 0.135f - plank_of(p) - 0.5f);
    return -0.0035f * step_smooth(0.482f, 0.5f, edge) +
           0.00030f * fbm(v(p.x * 18, p.y, p.z * 420), 4, 0.6f) +
           0.0004f * noise(v(p.x * 6, 1, p.z * 30));
}

static void wood(hit *h, surface *s) {
    v3 p = h->p;
    float g = grain(p), ring = g - floorf(g), k = plank_of(p);
    float late = step_smooth(0.15f, 0.95f, ring) * step_smooth(1.0f, 0.93f, ring);
    float pores = step_smooth(0.18f, 0.5f, noise(v(p.x * 28, 4, p.z * 620)));
    v3 colour = mix(v(0.36f, 0.195f, 0.090f), v(0.17f, 0.078f, 0.032f),
                    clampf(0.85f * late + 0.25f * fbm(v(p.x * 9, 1, p.z * 90), 4, 0.6f), 0, 1));
    colour =
        scale(colour, (0.8f + 0.4f * hash_unit((uint32_t)(int)(k + 50), 3)) * (1 - 0.45f * pores));
    float worn = step_smooth(0.05f, 0.6f, fbm(scale(p, 7), 5, 0.6f));
    colour = mix(colour, scale(v(0.42f, 0.29f, 0.18f), 0.9f), 0.25f * worn);
    float edge = fabsf(p.z / 0.135f - k - 0.5f);
    s->albedo = scale(colour, 1 - 0.75f * step_smooth(0.487f, 0.497f, edge));
    s->gloss = 0.04f;
    s->roughness = 0.34f + 0.2f * worn;
    h->n = bump(h->n, p, wood_height, 3e-4f);
}

static float plaster_height(v3 p) {
    return 0.0035f * fbm(scale(p, 9), 6, 0.55f) + 0.0009f * fbm(scale(p, 130), 3, 0.5f);
}

static float hammered(v3 p) {
    cells c = worley3(scale(p, 85));
    return 0.0007f * fminf(c.first * c.first, 0.5f);
}

static float lemon_pores(v3 p) {
    cells c = worley3(scale(p, 340));
    return 0.00034f * fminf(c.first, 0.7f) + 0.0007f * noise(scale(p, 60));
}

static float nut_height(v3 p) {
    return 0.0016f * (ridged(scale(p, 120), 3) + 0.6f * noise(scale(p, 55)));
}

static float cloth_height(v3 p) {
    return 0.00016f * (sinf(p.x * 5200) * sinf(p.y * 5200 + p.z * 5200)) +
           0.0003f * noise(scale(p, 300));
}

static float page_height(v3 p) {
    return 0.0004f * noise(v(p.x * 8, p.y * 1500, p.z * 8));
}

static void apple(const hit *h, surface *s) {
    uint32_t seed = h->object->seed;
    v3 q = h->local;
    float turn = atan2f(q.z, q.x), up = q.y / 0.04f;
    float streak = noise(v(cosf(turn) * 16, up * 1.1f + hash_unit(seed, 1) * 9, sinf(turn) * 16));
    float blush = step_smooth(-0.5f, 0.55f,
                              noise(v(q.x * 22 + hash_unit(seed, 2) * 9, q.y * 22, q.z * 22)) +
                                  0.4f * streak + 0.3f * (hash_unit(seed, 3) - 0.3f));
    s->albedo = mix(
        v(0.56f, 0.46f, 0.07f),
        mix(v(0.44f, 0.035f, 0.02f), v(0.24f, 0.012f, 0.012f), clampf(0.5f + streak, 0, 1)), blush);
    cells c = worley3(scale(q, 260));
    s->albedo =
        mix(s->albedo, v(0.62f, 0.48f, 0.26f),
            0.6f * step_smooth(0.17f, 0.08f, c.first) * (hash_unit(c.id, 6) > 0.4f ? 1.0f : 0));
    float russet = step_smooth(0.75f, 1.0f, up + 0.25f * noise(scale(q, 150)));
    s->albedo = mix(s->albedo, v(0.36f, 0.26f, 0.10f),
                    0.7f * russet * step_smooth(0.016f, 0.008f, around(q)));
    s->gloss = 0.045f;
    s->roughness = 0.22f + 0.3f * russet;
}

static void book(hit *h, surface *s) {
    const object *o = h->object;
    v3 q = h->local, half = o->half;
    v3 n = to_local(o, h->n);
    bool spine = n.z > 0.5f, cover = fabsf(n.y) > 0.5f || fabsf(q.y) > half.y - 0.0022f || spine;
    v3 cloth = hash_unit(o->seed, 1) > 0.5f ? v(0.045f, 0.085f, 0.13f) : v(0.23f, 0.05f, 0.035f);
    if (!cover) {
        float sheet = noise(v(q.x * 6, q.y * 1700, q.z * 6)), age = fbm(scale(q, 40), 4, 0.5f);
        s->albedo = scale(v(0.66f, 0.56f, 0.40f), 0.82f + 0.22f * sheet + 0.15f * age);
        h->n = bump(h->n, q, page_height, 2e-4f);
        return;
    }
    float wear = step_smooth(0.05f, 0.6f, fbm(scale(q, 30), 5, 0.6f)),
          rim = fmaxf(fabsf(q.x) / half.x, fabsf(q.y) / half.y);
    s->albedo = scale(mix(cloth, v(0.32f, 0.27f, 0.21f),
                          0.22f * wear + 0.35f * step_smooth(0.965f, 1, rim) * wear),
                      1 + 0.25f * noise(scale(q, 700)));
    if (spine && (fabsf(fabsf(q.x) - 0.085f) < 0.0013f || fabsf(fabsf(q.x) - 0.092f) < 0.0007f ||
                  (fabsf(q.x) < 0.05f && fabsf(q.y) < 0.004f &&
                   noise(v(q.x * 420, q.y * 260, 3)) > 0.02f))) {
        s->albedo =
            v(0.75f, 0.55f, 0.22f); /* gilt lines and a title that time has made illegible */
        s->metal = noise(scale(q, 900)) > -0.25f;
        s->roughness = 0.4f;
        return;
    }
    s->gloss = 0.03f;
    s->roughness = 0.6f;
    h->n = bump(h->n, q, cloth_height, 2e-4f);
}

static void vase(hit *h, surface *s) {
    v3 q = h->local;
    float turn = atan2f(q.z, q.x),
          y = q.y + 0.02f * noise(v(cosf(turn) * 2, q.y * 10, sinf(turn) * 2));
    float run = fbm(v(cosf(turn) * 5, q.y * 9, sinf(turn) * 5), 6, 0.6f);
    v3 glaze =
        mix(v(0.10f, 0.22f, 0.25f), v(0.42f, 0.52f, 0.47f), clampf(0.45f + 0.8f * run, 0, 1));
    cells crackle = worley3(scale(q, 95));
    glaze = scale(glaze, 1 - 0.45f * step_smooth(0.035f, 0.01f, crackle.second - crackle.first));
    float bare = step_smooth(-0.085f, -0.098f, y + 0.012f * run);
    v3 clay = scale(v(0.40f, 0.24f, 0.15f), 1 + 0.3f * fbm(scale(q, 200), 4, 0.6f));
    glaze = mix(glaze, v(0.30f, 0.17f, 0.08f), step_smooth(0.132f, 0.148f, y + 0.008f * run));
    s->albedo = mix(glaze, clay, bare);
    s->gloss = 0.05f * (1 - bare);
    s->roughness = 0.14f;
}

static void material(hit *h, surface *s) {
    v3 p = h->p, q = h->local;
    uint32_t seed = h->object->seed;
    float tone;
    s->roughness = 0.6f;
    switch (h->object->material) {
    case TABLE:
        wood(h, s);
        break;
    case WALL:
        tone = fbm(scale(p, 2.3f), 7, 0.58f);
        s->albedo = scale(
            mix(v(0.33f, 0.30f, 0.255f), v(0.20f, 0.19f, 0.175f), clampf(0.5f + 0.7f * tone, 0, 1)),
            0.85f);
        h->n = bump(h->n, p, plaster_height, 1e-3f);
        break;
    case VASE:
        vase(h, s);
        break;
    case APPLE:
        apple(h, s);
        break;
    case STALK:
        s->albedo = scale(v(0.16f, 0.09f, 0.04f), 1 + 0.5f * noise(scale(q, 400)));
        break;
    case LEMON:
        s->albedo = mix(v(0.74f, 0.50f, 0.045f), v(0.56f, 0.52f, 0.08f),
                        step_smooth(0.036f, 0.048f, fabsf(q.x) + 0.006f * noise(scale(q, 60))));
        s->gloss = 0.04f;
        s->roughness = 0.33f;
        h->n = bump(h->n, add(q, v(hash_unit(seed, 1), 0, 0)), lemon_pores, 2e-4f);
        break;
    case BOTTLE:
        s->glass = true;
        s->tint = v(1e-14f, 1e-6f, 1e-17f);
        break;
    case BOWL:
        tone = fbm(scale(q, 26), 5, 0.6f);
        s->metal = true;
        s->albedo =
            mix(v(0.93f, 0.55f, 0.36f), v(0.42f, 0.21f, 0.13f), step_smooth(-0.15f, 0.65f, tone));
        s->roughness = 0.26f + 0.16f * step_smooth(-0.1f, 0.6f, tone);
        h->n = bump(h->n, q, hammered, 3e-4f);
        break;
    case NUT:
        s->albedo = scale(v(0.42f, 0.26f, 0.13f),
                          0.85f + 0.5f * noise(scale(q, 90)) * noise(scale(q, 300)) +
                              0.3f * (hash_unit(seed, 1) - 0.5f));
        s->gloss = 0.03f;
        s->roughness = 0.5f;
        h->n = bump(h->n, add(q, v(hash_unit(seed, 2), 0, 0)), nut_height, 3e-4f);
        break;
    case BOOK:
        book(h, s);
        break;
    case GRAPE:
        tone = fbm(add(scale(q, 130), v(9 * hash_unit(seed, 1), 0, 0)), 4, 0.6f);
        s->albedo = mix(v(0.035f, 0.012f, 0.03f), v(0.22f, 0.21f, 0.29f),
                        step_smooth(-0.25f, 0.7f, tone + 0.5f * h->n.y));
        s->albedo = mix(s->albedo, v(0.14f, 0.02f, 0.03f), 0.3f * hash_unit(seed, 2));
        s->gloss = 0.04f;
        s->roughness = 0.2f + 0.25f * step_smooth(-0.1f, 0.6f, tone);
        break;
    default:
        s->albedo = scale(mix(v(0.52f, 0.40f, 0.20f), v(0.34f, 0.24f, 0.11f), hash_unit(seed, 1)),
                          0.9f + 0.4f * noise(scale(q, 800)));
        break;
    }
}

/* ---- the table is laid ---- */

static object *put(object *list, size_t *count, shape kind, int what, v3 at, v3 half,
                   float (*field)(v3)) {
    object *o = &list[*count];
    *o = (object){.shape = kind,
                  .centre = at,
                  .half = half,
                  .field = field,
                  .material = what,
                  .glass = what == BOTTLE,
                  .seed = hash3((int32_t)*count, 3, 21)};
    object_turn(o, 0, 0, 0);
    ++*count;
    return o;
}

static void put_grasses(object *list, size_t *n, v3 foot) {
    for (int i = 0; i < 13; i++) {
        uint32_t seed = hash3(i, 8, 2);
        float lean = 0.5f * (hash_unit(seed, 1) - 0.5f), tilt = 0.35f * (hash_unit(seed, 2) - 0.5f);
        float tall = 0.24f + 0.12f * hash_unit(seed, 3);
        v3 up = unit(v(lean, 1, tilt));
        object *stem = put(list, n, SHAPE_CYLINDER, GRASS, add(foot, scale(up, tall / 2)),
                           v(0.0011f, tall / 2, 0.0011f), NULL);
        object_turn(stem, atan2f(up.x, up.z), acosf(up.y), 0);
        for (int k = 0; k < 46; k++) {
            uint32_t s = hash3(i, k, 31);
            float along = tall * (0.68f + 0.36f * (float)k / 46), turn = 2.4f * (float)k;
            float out = 0.0042f * (1.15f - 0.6f * (float)k / 46);
            v3 at = add(foot, add(scale(up, along), v(out * cosf(turn), 0, out * sinf(turn))));
            object *seed_head =
                put(list, n, SHAPE_ELLIPSOID, GRASS, at, v(0.0021f, 0.0062f, 0.0019f), NULL);
            object_turn(seed_head, -turn + 1.57f, 0.45f, 0.3f * (hash_unit(s, 1) - 0.5f));
            if (k % 3 == 0) { /* an awn */
                v3 tip = unit(add(up, v(0.35f * cosf(turn), 0, 0.35f * sinf(turn))));
                object *awn = put(list, n, SHAPE_CYLINDER, GRASS, add(at, scale(tip, 0.018f)),
                                  v(0.00028f, 0.018f, 0.00028f), NULL);
                object_turn(awn, atan2f(tip.x, tip.z), acosf(tip.y), 0);
            }
        }
    }
}

bool scene_stilllife(scene *s) {
    object *list = calloc(MAX_OBJECTS, sizeof *list);
    if (list == NULL)
        return false;
    size_t n = 0;
    put(list, &n, SHAPE_BOX, TABLE, v(0, -0.03f, 0), v(1.4f, 0.03f, 0.52f), NULL);
    put(list, &n, SHAPE_BOX, WALL, v(0, 0.5f, -1.15f), v(4, 3, 0.1f), NULL);
    put(list, &n, SHAPE_FIELD, VASE, v(-0.235f, 0.15f, -0.13f), v(0.09f, 0.152f, 0.09f),
        vase_field);
    put_grasses(list, &n, v(-0.235f, 0.17f, -0.13f));
    put(list, &n, SHAPE_FIELD, BOTTLE, v(0.255f, 0.16f, -0.19f), v(0.042f, 0.163f, 0.042f),
        bottle_field);
    object_turn(
        put(list, &n, SHAPE_BOX, BOOK, v(0.31f, 0.019f, 0.015f), v(0.118f, 0.019f, 0.082f), NULL),
        -0.22f, 0, 0);
    object_turn(
        put(list, &n, SHAPE_BOX, BOOK, v(0.315f, 0.053f, 0.005f), v(0.104f, 0.015f, 0.072f), NULL),
        0.16f, 0, 0);
    put(list, &n, SHAPE_FIELD, BOWL, v(0.0f, 0.047f, -0.07f), v(0.12f, 0.11f, 0.12f), bowl_field);
    static const v3 apples[] = {
        {-0.118f, 0.040f, 0.118f}, {-0.192f, 0.040f, 0.055f}, {0.318f, 0.107f, 0.0f}};
    for (int i = 0; i < 3; i++) {
        object *a =
            put(list, &n, SHAPE_FIELD, APPLE, apples[i], v(0.046f, 0.044f, 0.046f), apple_field);
        object_turn(a, 2.1f * (float)i, 0.22f - 0.2f * (float)i, 0.25f);
        object stem = *a;
        v3 top = add(a->centre, scale(a->axis[1], 0.028f));
        *put(list, &n, SHAPE_CYLINDER, STALK, top, v(0.0013f, 0.013f, 0.0013f), NULL) =
            (object){.shape = SHAPE_CYLINDER,
                     .centre = top,
                     .half = v(0.0013f, 0.013f, 0.0013f),
                     .axis = {stem.axis[0], stem.axis[1], stem.axis[2]},
                     .material = STALK};
    }
    static const v3 lemons[] = {{0.075f, 0.0315f, 0.155f}, {0.155f, 0.0315f, 0.115f}};
    for (int i = 0; i < 2; i++)
        object_turn(
            put(list, &n, SHAPE_FIELD, LEMON, lemons[i], v(0.054f, 0.037f, 0.037f), lemon_field),
            0.5f - 1.5f * (float)i, 0.4f, 0.05f);
    for (int i = 0; i < 34; i++) { /* walnuts heaped in the bowl, and two that fell beside it */
        uint32_t seed = hash3(i, 1, 77);
        float r = 0.078f * sqrtf(hash_unit(seed, 1)), turn = 6.28f * hash_unit(seed, 2);
        v3 at = v(r * cosf(turn), 0.083f + 0.03f * (float)(i / 12) - 3 * r * r * (float)(i / 12),
                  -0.07f + r * sinf(turn));
        if (i > 31)
            at = i == 32 ? v(-0.02f, 0.0155f, 0.16f) : v(0.012f, 0.0155f, 0.195f);
        object_turn(put(list, &n, SHAPE_ELLIPSOID, NUT, at, v(0.0185f, 0.0155f, 0.0155f), NULL),
                    6.28f * hash_unit(seed, 3), hash_unit(seed, 4), 0.5f * hash_unit(seed, 5));
    }
    for (int i = 0; i < 58; i++) { /* grapes: a heap that thins out to one side */
        uint32_t seed = hash3(i, 4, 99);
        float t = hash_unit(seed, 1), layer = (float)(i % 3);
        v3 at =
            v(-0.325f + 0.135f * t, 0.0115f + 0.0185f * layer * (1 - 0.55f * t),
              0.125f + (0.085f - 0.05f * t - 0.016f * layer) * (hash_unit(seed, 2) - 0.5f) * 1.3f);
        put(list, &n, SHAPE_ELLIPSOID, GRAPE, at, v(0.0122f, 0.0115f, 0.0122f), NULL);
    }
    s->world = world_create(list, n);
    free(list);
    s->eye = v(0.04f, 0.36f, 1.08f);
    s->target = v(0.015f, 0.135f, 0);
    s->view = 0.52f;
    s->aperture = 0.0065f;
    s->focus = 1.02f;
    s->exposure = 1.65f;
    s->samples = 96;
    s->window_corner = v(-1.3f, 0.25f, -0.35f);
    s->window_u = v(0, 0, 0.95f);
    s->window_v = v(0.12f, 0.95f, 0);
    s->window_strength = scale(v(1, 0.96f, 0.90f), 9);
    s->sky = sky;
    s->material = material;
    return s->world != NULL;
}
