/*
 * objects.c - ellipsoids, boxes, cylinders and distance fields, found through a tree of boxes.
 *
 * Rays are taken to the object's own axes; fields are sphere-traced inside their box only.
 */
#include "samples/render/render.h"
#include <stdlib.h>
#include <string.h>

typedef struct node {
    v3 low, high;
    uint32_t left, first, count; /* count 0: children left and left + 1; else objects */
} node;

struct world {
    object *objects;
    node *nodes;
    uint32_t used;
};

v3 to_local(const object *o, v3 d) {
    return v(dot(o->axis[0], d), dot(o->axis[1], d), dot(o->axis[2], d));
}

v3 to_world(const object *o, v3 d) {
    return add(add(scale(o->axis[0], d.x), scale(o->axis[1], d.y)), scale(o->axis[2], d.z));
}

void object_turn(object *o, float yaw, float pitch, float roll) {
    float a = cosf(yaw), b = sinf(yaw), c = cosf(pitch), d = sinf(pitch), e = cosf(roll),
          f = sinf(roll);
    o->axis[0] = v(a * e + b * d * f, c * f, -b * e + a * d * f);
    o->axis[1] = v(-a * f + b * d * e, c * e, b * f + a * d * e);
    o->axis[2] = v(b * c, -d, a * c);
}

static void object_bounds(const object *o, v3 *low, v3 *high) {
    v3 h = o->half, r = v(0, 0, 0);
    const v3 *m = o->axis;
    r.x = fabsf(m[0].x) * h.x + fabsf(m[1].x) * h.y + fabsf(m[2].x) * h.z;
    r.y = fabsf(m[0].y) * h.x + fabsf(m[1].y) * h.y + fabsf(m[2].y) * h.z;
    r.z = fabsf(m[0].z) * h.x + fabsf(m[1].z) * h.y + fabsf(m[2].z) * h.z;
    *low = sub(o->centre, r);
    *high = add(o->centre, r);
}

static int sort_axis; /* qsort has no argument for it; the tree is built by one thread */

static int compare_centres(const void *a, const void *b) {
    const object *p = a, *q = b;
    float x = sort_axis == 0 ? p->centre.x : sort_axis == 1 ? p->centre.y : p->centre.z;
    float y = sort_axis == 0 ? q->centre.x : sort_axis == 1 ? q->centre.y : q->centre.z;
    return (x > y) - (x < y);
}

static void build(world *w, uint32_t at, uint32_t first, uint32_t count) {
    node *n = &w->nodes[at];
    v3 low = v(1e9f, 1e9f, 1e9f), high = v(-1e9f, -1e9f, -1e9f);
    for (uint32_t i = first; i < first + count; i++) {
        v3 a, b;
        object_bounds(&w->objects[i], &a, &b);
        low = v(fminf(low.x, a.x), fminf(low.y, a.y), fminf(low.z, a.z));
        high = v(fmaxf(high.x, b.x), fmaxf(high.y, b.y), fmaxf(high.z, b.z));
    }
    n->low = low;
    n->high = high;
    n->first = first;
    n->count = count;
    if (count <= 2)
        return;
    v3 size = sub(high, low);
    sort_axis = size.x > size.y && size.x > size.z ? 0 : size.y > size.z ? 1 : 2;
    qsort(w->objects + first, count, sizeof(object), compare_centres);
    n->left = w->used;
    n->count = 0;
    w->used += 2;
    build(w, n->left, first, count / 2);
    build(w, n->left + 1, first + count / 2, count - count / 2);
}

world *world_create(const object *objects, size_t count) {
    world *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->objects = malloc(count * sizeof *objects);
    w->nodes = malloc(2 * count * sizeof *w->nodes);
    if (w->objects == NULL || w->nodes == NULL) {
        world_free(w);
        return NULL;
    }
    memcpy(w->objects, objects, count * sizeof *objects);
    w->used = 1;
    build(w, 0, 0, (uint32_t)count);
    return w;
}

void world_free(world *w) {
    if (w == NULL)
        return;
    free(w->objects);
    free(w->nodes);
    free(w);
}

/* Entry and exit of a box, false when missed. */
static bool slab(v3 o, v3 inverse, v3 low, v3 high, float *from, float *to) {
    float a = (low.x - o.x) * inverse.x, b = (high.x - o.x) * inverse.x;
    float near = fminf(a, b), far = fmaxf(a, b);
    a = (low.y - o.y) * inverse.y, b = (high.y - o.y) * inverse.y;
    near = fmaxf(near, fminf(a, b)), far = fminf(far, fmaxf(a, b));
    a = (low.z - o.z) * inverse.z, b = (high.z - o.z) * inverse.z;
    *from = fmaxf(near, fminf(a, b)), *to = fminf(far, fmaxf(a, b));
    return *from <= *to && *to > 0;
}

static const float least = 1e-4f;

static bool hit_ellipsoid(const object *ob, v3 o, v3 d, float limit, float *t, v3 *n) {
    v3 so = v(o.x / ob->half.x, o.y / ob->half.y, o.z / ob->half.z);
    v3 sd = v(d.x / ob->half.x, d.y / ob->half.y, d.z / ob->half.z);
    float a = dot(sd, sd), b = dot(so, sd);
    v3 nearest = sub(so, scale(sd, b / a)); /* avoids the cancellation of b * b - a * c */
    float root = (1 - dot(nearest, nearest)) / a;
    if (root < 0)
        return false;
    root = sqrtf(root);
    *t = -b / a - root;
    if (*t < least)
        *t = -b / a + root;
    if (*t < least || *t >= limit)
        return false;
    v3 p = add(so, scale(sd, *t));
    *n = unit(v(p.x / ob->half.x, p.y / ob->half.y, p.z / ob->half.z));
    return true;
}

static bool hit_box(const object *ob, v3 o, v3 d, float limit, float *t, v3 *n) {
    float to;
    if (!slab(o, v(1 / d.x, 1 / d.y, 1 / d.z), scale(ob->half, -1), ob->half, t, &to))
        return false;
    if (*t < least)
        *t = to;
    if (*t < least || *t >= limit)
        return false;
    v3 p = add(o, scale(d, *t));
    float x = fabsf(p.x) - ob->half.x, y = fabsf(p.y) - ob->half.y, z = fabsf(p.z) - ob->half.z;
    *n = x > y && x > z ? v(copysignf(1, p.x), 0, 0)
         : y > z        ? v(0, copysignf(1, p.y), 0)
                        : v(0, 0, copysignf(1, p.z));
    return true;
}

/* Upright in its own axes: radius half.x, from -half.y to half.y. */
static bool hit_cylinder(const object *ob, v3 o, v3 d, float limit, float *t, v3 *n) {
    float a = d.x * d.x + d.z * d.z, b = o.x * d.x + o.z * d.z;
    float c = o.x * o.x + o.z * o.z - ob->half.x * ob->half.x, root = b * b - a * c;
    bool found = false;
    *t = limit;
    if (a > 1e-12f && root >= 0) {
        float at = (-b - sqrtf(root)) / a, y = o.y + d.y * at;
        if (at > least && at < *t && fabsf(y) <= ob->half.y) {
            *t = at;
            *n = unit(v(o.x + d.x * at, 0, o.z + d.z * at));
            found = true;
        }
    }
    float cap = (copysignf(ob->half.y, o.y) - o.y) / d.y;
    float x = o.x + d.x * cap, z = o.z + d.z * cap;
    if (cap > least && cap < *t && x * x + z * z <= ob->half.x * ob->half.x) {
        *t = cap;
        *n = v(0, copysignf(1, o.y), 0);
        found = true;
    }
    return found;
}

static bool hit_field(const object *ob, v3 o, v3 d, float limit, float *t, v3 *n) {
    float from, to;
    if (!slab(o, v(1 / d.x, 1 / d.y, 1 / d.z), scale(ob->half, -1), ob->half, &from, &to))
        return false;
    float at = fmaxf(from, 1e-3f);
    to = fminf(to, limit);
    /* From inside (glass) the sign is turned, so that the march goes to the next crossing. */
    float side = ob->field(add(o, scale(d, at))) < 0 ? -1.0f : 1.0f;
    for (int i = 0; i < 160 && at < to; i++) {
        v3 p = add(o, scale(d, at));
        float distance = side * ob->field(p);
        if (distance < 1e-4f) {
            const float e = 4e-4f;
            *t = at;
            *n = unit(v(ob->field(v(p.x + e, p.y, p.z)) - ob->field(v(p.x - e, p.y, p.z)),
                        ob->field(v(p.x, p.y + e, p.z)) - ob->field(v(p.x, p.y - e, p.z)),
                        ob->field(v(p.x, p.y, p.z + e)) - ob->field(v(p.x, p.y, p.z - e))));
            return true;
        }
        at += fmaxf(distance * 0.85f, 1e-4f);
    }
    return false;
}

static bool hit_object(const object *ob, const ray *r, float limit, hit *h) {
    v3 o = to_local(ob, sub(r->o, ob->centre)), d = to_local(ob, r->d), n;
    float t;
    bool found = ob->shape == SHAPE_ELLIPSOID  ? hit_ellipsoid(ob, o, d, limit, &t, &n)
                 : ob->shape == SHAPE_BOX      ? hit_box(ob, o, d, limit, &t, &n)
                 : ob->shape == SHAPE_CYLINDER ? hit_cylinder(ob, o, d, limit, &t, &n)
                                               : hit_field(ob, o, d, limit, &t, &n);
    if (found)
        *h = (hit){t, add(r->o, scale(r->d, t)), to_world(ob, n), add(o, scale(d, t)), ob};
    return found;
}

bool world_trace(const world *w, const ray *r, float limit, hit *h) {
    v3 inverse = v(1 / r->d.x, 1 / r->d.y, 1 / r->d.z);
    uint32_t stack[64], top = 0;
    bool found = false;
    stack[top++] = 0;
    while (top > 0) {
        const node *n = &w->nodes[stack[--top]];
        float from, to;
        if (!slab(r->o, inverse, n->low, n->high, &from, &to) || from > limit)
            continue;
        for (uint32_t i = n->first; i < n->first + n->count; i++)
            if (hit_object(&w->objects[i], r, limit, h)) {
                limit = h->t;
                found = true;
            }
        if (n->count == 0) {
            stack[top++] = n->left;
            stack[top++] = n->left + 1;
        }
    }
    return found;
}
