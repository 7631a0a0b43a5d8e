/*
 * internal.h - the opaque types of vqz.h, and what the encoder and the decoder share.
 */
#ifndef VQZI_INTERNAL_H
#define VQZI_INTERNAL_H

#include "codec/net.h"
#include "format/container.h"

/* Pixels along each side of a work tile.  Larger tiles recompute less halo, smaller ones stay in
   cache; the result is the same for every power of two up to VQZI_TILE. */
enum { VQZI_WORK_TILE = 512, VQZI_MIN_WORK_TILE = VQZI_MAX_STRIDE };

/* Metadata blocks beyond this are refused: no profile or camera block comes near. */
enum { VQZI_MAX_METADATA = 1 << 26 };

struct vqz_model {
    vqzi_model model;
    vqzi_prepared_net analysis, synthesis;
};

struct vqz_context {
    vqz_context_options options;
    vqzi_kernels kernels;
    vqzi_team team;
    uint32_t work_tile;
};

/* For tests.  Size of the work tiles: a power of two, VQZI_MIN_WORK_TILE..VQZI_TILE; grain: see
   team.h.  Neither may change a result. */
void vqzi_context_set_tuning(vqz_context *context, uint32_t work_tile, uint64_t grain);

/* Whether a picture of this size is acceptable to the interface and the limits. */
VQZ_MUST_CHECK vqz_status vqzi_check_size(const vqz_context *context, uint32_t width,
                                          uint32_t height, uint32_t channels, vqz_diag *diag);
/* Whether `count` rows of it, after `done` ones, can be at this address. */
VQZ_MUST_CHECK vqz_status vqzi_check_rows(const void *rows, size_t stride, size_t row_bytes,
                                          uint32_t done, uint32_t count, uint32_t height,
                                          vqz_diag *diag);

/* How a picture of this size runs through one network of a model: padded latent size, and the work
   tile, shrunk until all fits the memory limit: the network, the rows of pixels that a row of work
   tiles needs at once, and `other` bytes. */
typedef struct vqzi_job {
    uint32_t columns, rows; /* of the latent */
    uint32_t work;          /* pixels of a work tile */
    uint32_t tile_rows;     /* latent rows, and columns, of a container tile */
    uint32_t band;          /* rows of pixels to hold */
    vqzi_net_plan plan;
} vqzi_job;
VQZ_MUST_CHECK vqz_status vqzi_job_plan(vqzi_job *job, const vqz_context *context,
                                        const vqz_model *model, const vqzi_prepared_net *net,
                                        uint32_t width, uint32_t height, size_t row_bytes,
                                        uint64_t other, vqz_diag *diag);

#endif
