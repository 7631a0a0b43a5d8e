/*
 * net.h - runs the integer networks of a model (semantics: format/model.h) on pictures of any size
 * in bounded memory.
 *
 * A network is defined on the whole picture.  It is evaluated in tiles of its output: walking the
 * ops backwards gives the region of every register that a tile needs (its halo included), clipped
 * to the picture; walking forwards computes exactly these regions.  So the tile size cannot be seen
 * in the result.  Register buffers carry a margin of zeros, which are the positions outside the
 * picture, and share memory once their last reader has run.
 */
#ifndef VQZI_NET_H
#define VQZI_NET_H

#include "codec/kernels/kernels.h"
#include "format/team.h"
#include "format/model.h"

enum { VQZI_NET_MARGIN = 2 }; /* zero positions around a register: a 5x5 kernel reaches this far */

/* Positions begin..end-1 along one axis. */
typedef struct vqzi_span {
    int64_t begin, end;
} vqzi_span;

/* A region of a register: (y.end - y.begin, x.end - x.begin, channels) int16, dense rows of `pitch`
   elements; data points at position (y.begin, x.begin). */
typedef struct vqzi_view {
    int16_t *data;
    size_t pitch;
    vqzi_span x, y;
    uint32_t channels;
} vqzi_view;

/* Taps of a CONV: all those of its kernel, or the part of them that reads these rows, the first columns
   and these channels. */
typedef struct vqzi_taps {
    uint32_t first_row, rows, columns, first_channel, channels;
} vqzi_taps;
/* Packs them; in_channels: of the op. */
VQZ_MUST_CHECK vqz_status vqzi_conv_pack(vqzi_conv *conv, const vqzi_op *op, uint32_t in_channels,
                                         const vqzi_taps *taps);
void vqzi_conv_unpack(vqzi_conv *conv);
/* Bias and rounding of every channel at a level. */
void vqzi_conv_offsets(int32_t *offsets, const vqzi_op *op, vqzi_level level);

/* A network with packed weights; immutable, shared between threads. */
typedef struct vqzi_prepared_net {
    const vqzi_net *net;
    vqzi_conv *convs; /* (op_count), used where the op is a CONV */
    uint32_t channels[VQZI_MAX_OPS + 1];
    /* a register has grow / shrink times the positions of the input, along each axis */
    uint32_t grow[VQZI_MAX_OPS + 1], shrink[VQZI_MAX_OPS + 1];
    uint32_t last_use[VQZI_MAX_OPS + 1]; /* op that reads it last; op_count for the output */
} vqzi_prepared_net;

/* Packs a checked net, which must outlive the result.  Input sizes will be multiples of what the
   net reduces them by. */
VQZ_MUST_CHECK vqz_status vqzi_net_prepare(vqzi_prepared_net *prepared, const vqzi_net *net);
void vqzi_net_unprepare(vqzi_prepared_net *prepared);

/* Input positions that the output positions `out` depend on, clipped to the input's size. */
vqzi_span vqzi_net_input_span(const vqzi_prepared_net *prepared, uint32_t input_size,
                              vqzi_span out);

typedef struct vqzi_net_plan {
    uint32_t width, height; /* of the input */
    uint32_t tile_width, tile_height; /* in output positions */
    uint32_t slot_count;
    uint8_t slot[VQZI_MAX_OPS + 1];          /* buffer of a register */
    uint64_t elements[VQZI_MAX_OPS + 1];     /* size of a buffer */
    uint64_t memory;        /* bytes an executor will allocate, UINT64_MAX when beyond counting */
    uint32_t max_tile_width, max_tile_height; /* of the input region of a tile */
} vqzi_net_plan;
/* Sizes for tiles at multiples of tile_width and tile_height. */
void vqzi_net_plan_make(vqzi_net_plan *plan, const vqzi_prepared_net *prepared, uint32_t width,
                        uint32_t height, uint32_t tile_width, uint32_t tile_height);

/* For one tile that is the whole picture, every register of which stays. */
void vqzi_net_plan_whole(vqzi_net_plan *plan, const vqzi_prepared_net *prepared, uint32_t width,
                         uint32_t height);

/* Work memory of one network at one quality level; runs on the threads of the team. */
typedef struct vqzi_executor vqzi_executor;
VQZ_MUST_CHECK vqz_status vqzi_executor_create(vqzi_executor **executor,
                                               const vqzi_prepared_net *prepared,
                                               const vqzi_net_plan *plan, vqzi_level level,
                                               const vqzi_kernels *kernels,
                                               const vqzi_team *team);
void vqzi_executor_free(vqzi_executor *executor);
/* Starts a tile (x and y multiples of the plan's tile, clipped to the output) and gives the input region to be filled by the caller. */
vqzi_view vqzi_executor_begin(vqzi_executor *executor, uint32_t x, uint32_t y);
/* Runs the network; the view holds the tile's output until the next begin. */
vqzi_view vqzi_executor_run(vqzi_executor *executor);

#endif
