/*
 * predict.h - the MED predictor of LOCO-I (JPEG-LS; Weinberger, Seroussi, Sapiro 2000), which index
 * streams and alpha share (spec/vqz-format.md, "Streams").
 */
#ifndef VQZI_PREDICT_H
#define VQZI_PREDICT_H

#include "format/common.h"

/* The value at `here`, which is position (x, y), guessed from those before it: W in the first row, N
   in the first column, 0 in the corner.  Neighbours in a row are `step` bytes apart, rows `pitch`. */
static inline int vqzi_predict(const uint8_t *here, size_t x, size_t y, size_t step, size_t pitch) {
    if (y == 0)
        return x == 0 ? 0 : *(here - step);
    int north = *(here - pitch);
    if (x == 0)
        return north;
    int west = *(here - step), north_west = *(here - pitch - step);
    int low = VQZI_MIN(west, north), high = VQZI_MAX(west, north);
    if (north_west >= high)
        return low;
    return north_west <= low ? high : west + north - north_west;
}

#endif
