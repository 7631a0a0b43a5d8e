/*
 * render.h - the little path tracer that draws the project's sample pictures: vectors, noise,
 * random numbers, objects, and what a scene consists of.
 *
 * Lengths are in metres, y is up, colours are linear light with Rec. 709 primaries.  Everything
 * random comes from hashes of fixed seeds, so a picture is the same each time it is drawn.
 */
#ifndef SAMPLES_RENDER_H
#define SAMPLES_RENDER_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct v3 {
    float x, y, z;
} v3;

static inline v3 v(float x, float y, float z) {
    return (v3){x, y, z};
}
static inline v3 add(v3 a, v3 b) {
    return v(a.x + b.x, a.y + b.y, a.z + b.z);
}
static inline v3 sub(v3 a, v3 b) {
    return v(a.x - b.x, a.y - b.y, a.z - b.z);
}
static inline v3 mul(v3 a, v3 b) {
    return v(a.x * b.x, a.y * b.y, a.z * b.z);
}
static inline v3 scale(v3 a, float s) {
    return v(a.x * s, a.y * s, a.z * s);
}
static inline v3 mix(v3 a, v3 b, float t) {
    return add(scale(a, 1 - t), scale(b, t));
}
static inline float dot(v3 a, v3 b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}
static inline v3 cross(v3 a, v3 b) {
    return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static inline float length(v3 a) {
    return sqrtf(dot(a, a));
}
static inline v3 unit(v3 a) {
    return scale(a, 1 / length(a));
}
static inline float clampf(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}
static inline float mixf(float a, float b, float t) {
    return a + (b - a) * t;
}
/* 0 below a, 1 above b (or the other way round when b < a), smooth between. */
static inline float step_smooth(float a, float b, float x) {
    float t = clampf((x - a) / (b - a), 0, 1);
    return t * t * (3 - 2 * t);
}

/* ---- noise (noise.c) ---- */

uint32_t hash3(int32_t x, int32_t y, int32_t z);
/* A number from 0 to 1 that belongs to a seed and a dimension. */
float hash_unit(uint32_t seed, uint32_t dimension);
/* Gradient noise of feature size 1, about -1 to 1. */
float noise(v3 p);
/* Octaves of it, each with half the size and `gain` times the strength. */
float fbm(v3 p, int octaves, float gain);
/* Ridged octaves, 0 to about 1. */
float ridged(v3 p, int octaves);
/* Cells: distances to the nearest and second nearest feature point, and the hash of the nearest. */
typedef struct cells {
    float first, second;
    uint32_t id;
} cells;
cells worley2(float x, float y);
cells worley3(v3 p);

/* Scrambled Sobol points: number `index` of a pixel's sequence, for one pair of dimensions. */
typedef struct sampler {
    uint32_t seed, index, dimension;
} sampler;
void sample2(sampler *s, float *a, float *b);

/* ---- objects (objects.c) ---- */

typedef struct ray {
    v3 o, d;
} ray;

typedef enum shape { SHAPE_ELLIPSOID, SHAPE_BOX, SHAPE_CYLINDER, SHAPE_FIELD } shape;

typedef struct object {
    shape shape;
    v3 centre;
    v3 axis[3];               /* orthonormal: rows that take world directions to local ones */
    v3 half;                  /* radii or half sides; for a field, of the box around it */
    float (*field)(v3 local); /* SHAPE_FIELD: signed distance, or a bound of it */
    int material;
    bool glass; /* a shadow ray may pass; the material says with what tint */
    uint32_t seed;
} object;

typedef struct hit {
    float t;
    v3 p, n;  /* world */
    v3 local; /* in the object's own axes, metres from its centre */
    const object *object;
} hit;

typedef struct world world;
/* Keeps a copy of the objects.  NULL when memory is out. */
world *world_create(const object *objects, size_t count);
void world_free(world *w);
bool world_trace(const world *w, const ray *r, float limit, hit *h);
void object_turn(object *o, float yaw, float pitch, float roll);
v3 to_local(const object *o, v3 direction);
v3 to_world(const object *o, v3 direction);

/* ---- scenes ---- */

typedef struct surface {
    v3 albedo;
    float gloss;     /* reflectance of the coat at right angles, 0.04 for varnish; 0: none */
    float roughness; /* of the coat, the metal or the glass */
    bool metal, glass;
    v3 tint; /* glass: what is left after a metre */
} surface;

typedef struct scene {
    v3 eye, target;
    float view;            /* height of the picture at distance 1 */
    float aperture, focus; /* lens radius, distance that is sharp */
    float exposure;
    int samples;
    /* one directional light (the sun) or one rectangle (a window); strength zero when absent */
    v3 sun_direction, sun_strength;
    float sun_radius; /* tangent of its angular radius */
    v3 window_corner, window_u, window_v, window_strength;
    world *world;
    v3 (*sky)(v3 direction);
    /* fills the surface; may bend h->n */
    void (*material)(hit *h, surface *s);
    /* when set, replaces path tracing altogether */
    v3 (*radiance)(const struct scene *s, ray r, sampler *random);
} scene;

bool scene_stilllife(scene *s);
bool scene_lake(scene *s);
bool scene_pebbles(scene *s);

/* Bends a normal by the slope of a height function (metres of height over metres). */
v3 bump(v3 n, v3 p, float (*height)(v3 p), float step);

#endif
