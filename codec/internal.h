/*
 * internal.h - the opaque types of vqz.h, and what the encoder and the decoder share.
 */
#ifndef VQZI_INTERNAL_H
#define VQZI_INTERNAL_H

#include "codec/adjoint.h"
#include "codec/net.h"
#include "codec/prior.h"
#include "format/tiles.h"

/* Most pixels of a work tile.  Larger tiles recompute less halo, smaller ones take less memory; the
   result is the same for every height that is a power of two and every width. */
enum { VQZI_WORK_WIDTH = 1024, VQZI_WORK_HEIGHT = 512, VQZI_MIN_WORK = VQZI_MAX_STRIDE };

/* Metadata blocks beyond this are refused: no profile or camera block comes near. */
enum { VQZI_MAX_METADATA = 1 << 26 };

struct vqz_model {
    vqzi_model model;
    /* packed for the kernels at first use, NULL before; see vqzi_model_net */
    _Atomic(vqzi_prepared_net *) analysis, synthesis;
    _Atomic(vqzi_adjoint *) adjoint; /* of the synthesis */
    _Atomic(vqzi_prepared_prior *) prior;
};

/* What the frame of vqz_default_model() holds. */
const uint8_t *vqzi_default_body(void);

/* The analysis net or the synthesis net of a model, packed.  Most programs use one of the two.
   Threads may race to the first use: each packs, the first to publish its work wins, the others drop
   theirs. */
VQZ_MUST_CHECK vqz_status vqzi_model_net(const vqz_model *model, bool analysis,
                                         const vqzi_prepared_net **net);
/* The same for the adjoint of the synthesis net. */
VQZ_MUST_CHECK vqz_status vqzi_model_adjoint(const vqz_model *model, const vqzi_adjoint **adjoint);
/* The same for the prior of a model that has one. */
VQZ_MUST_CHECK vqz_status vqzi_model_prior(const vqz_model *model,
                                           const vqzi_prepared_prior **prior);

struct vqz_context {
    vqz_context_options options;
    vqzi_kernels kernels;
    vqzi_team team;
    uint32_t work_width, work_height;
};

/* For tests.  Most pixels along each side of a work tile: a power of two, VQZI_MIN_WORK..VQZI_TILE;
   grain: see team.h.  Neither may change a result. */
void vqzi_context_set_tuning(vqz_context *context, uint32_t work_tile, uint64_t grain);

/* Whether a picture of this size is acceptable to the interface and the limits. */
VQZ_MUST_CHECK vqz_status vqzi_check_size(const vqz_context *context, uint32_t width,
                                          uint32_t height, uint32_t channels, vqz_diag *diag);
/* Whether `count` rows of it, after `done` ones, can be at this address. */
VQZ_MUST_CHECK vqz_status vqzi_check_rows(const void *rows, size_t stride, size_t row_bytes,
                                          uint32_t done, uint32_t count, uint32_t height,
                                          vqz_diag *diag);

/* Channels of a file's picture. */
uint32_t vqzi_header_channels(const vqzi_header *header);
/* Either header reader of format/container.h. */
VQZ_MUST_CHECK vqz_status vqzi_read_header(vqzi_header *header, bool *whole, const void *file,
                                           size_t file_size, bool partial, vqz_diag *diag);
/* Whether this is the file's model, the two agree, and the limits allow the picture. */
VQZ_MUST_CHECK vqz_status vqzi_check_file(const vqz_context *context, const vqz_model *model,
                                          const vqzi_header *header, vqz_diag *diag);

/* The decoder of a file with this header; partial: it was cut; or of a sample that looks like one. */
VQZ_MUST_CHECK vqz_status vqzi_decoder_open(vqz_decoder **decoder, vqz_context *context,
                                            const vqz_model *model, const vqzi_header *header,
                                            const void *file, const vqz_decode_options *options,
                                            bool partial, const vqz_sample_options *sample,
                                            vqz_diag *diag);

/* ---- job.c: a picture's way through one network of a model ---- */

/* The picture is taken in bands, each a row of work tiles.  Where there are enough tiles every
   worker takes one at a time, on its own; else there is one worker and all threads share the rows
   of its loops. */
typedef struct vqzi_job {
    uint32_t columns, rows;           /* of the latent, padding included */
    uint32_t tile_rows;               /* latent rows of a container tile */
    uint32_t work_width, work_height; /* pixels of a work tile */
    uint32_t tiles;                   /* work tiles of a band */
    uint32_t first_tile, end_tile;    /* those that are run */
    uint32_t band;                    /* rows of pixels that a band reads or writes */
    vqzi_net_plan plan;
    int workers;
    vqzi_executor **executors; /* (workers) */
    vqzi_team *teams;          /* (workers): who runs the loops of a tile */
} vqzi_job;

/* Shrinks the work tiles until all fits the memory limit: executors, a band of pixels, and `other`
   bytes.  No work tile is higher than a container tile. */
VQZ_MUST_CHECK vqz_status vqzi_job_plan(vqzi_job *job, const vqz_context *context,
                                        const vqz_model *model, const vqzi_prepared_net *net,
                                        uint32_t width, uint32_t height, uint32_t tile_rows,
                                        size_t row_bytes, uint64_t other, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status vqzi_job_open(vqzi_job *job, const vqz_context *context,
                                        const vqzi_prepared_net *net, vqzi_level level);
/* Calls run(argument, worker, tile) for every tile of a band. */
void vqzi_job_run_band(const vqzi_job *job, vqzi_team_row *run, const void *argument);
void vqzi_job_close(vqzi_job *job);

#endif
