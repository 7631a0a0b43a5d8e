/*
 * executor.h - the inside of vqzi_executor (net.h), for the two files that run networks: net.c
 * forwards, adjoint.c backwards.
 */
#ifndef VQZI_EXECUTOR_H
#define VQZI_EXECUTOR_H

#include "codec/net.h"

struct vqzi_executor {
    const vqzi_prepared_net *prepared;
    const vqzi_net_plan *plan;
    vqzi_kernels kernels;
    const vqzi_team *team;
    int32_t *offsets[VQZI_MAX_OPS]; /* CONV: bias + rounding at this level, padded to 16 */
    int16_t *slots[VQZI_MAX_OPS + 1];
    vqzi_view views[VQZI_MAX_OPS + 1];
};

/* Element at a position that lies in the view or its margin. */
static inline int16_t *vqzi_view_at(const vqzi_view *view, int64_t y, int64_t x) {
    return view->data + (y - view->y.begin) * (int64_t)view->pitch +
           (x - view->x.begin) * (int64_t)view->channels;
}

#endif
