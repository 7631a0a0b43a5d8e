/*
 * picture_parts.h - what picture.c and the readers and writers of each file kind share.
 */
#ifndef CLI_PICTURE_PARTS_H
#define CLI_PICTURE_PARTS_H

#include "cli/picture.h"

/* Refuses dimensions that are zero, above 65535, or beyond the limit.  kind starts the message. */
VQZ_MUST_CHECK vqz_status picture_check_size(const char *kind, uint64_t width, uint64_t height,
                                             const vqz_limits *limits, vqz_diag *diag);
/* malloc'ed copy of a metadata block; an empty block is NULL and 0. */
VQZ_MUST_CHECK vqz_status picture_copy_block(uint8_t **copy, size_t *copy_size, const void *data,
                                             size_t size, vqz_diag *diag);

/* The reader of one kind of file.  open fills facts, which are all zero; after a failure they may
   hold blocks that picture_clear releases, and *state is for close, NULL or not. */
typedef struct picture_kind {
    vqz_status (*open)(void **state, picture *facts, uint32_t *passes, source *s,
                       const vqz_limits *limits, vqz_diag *diag);
    /* The next rows as they are stored.  With several passes all rows come that often, and each
       time into what the pass before has left. */
    vqz_status (*rows)(void *state, uint8_t *rows, size_t stride, uint32_t count, vqz_diag *diag);
    /* Checks what comes behind the last row. */
    vqz_status (*finish)(void *state, vqz_diag *diag);
    void (*close)(void *state);
} picture_kind;
extern const picture_kind picture_kind_png, picture_kind_jpeg, picture_kind_pnm;

/* The writer of one kind of file. */
typedef struct picture_target {
    vqz_status (*open)(void **state, const picture *facts, file_output *output, vqz_diag *diag);
    vqz_status (*rows)(void *state, const uint8_t *rows, size_t stride, uint32_t count,
                       vqz_diag *diag);
    vqz_status (*finish)(void *state, vqz_diag *diag);
    void (*close)(void *state);
} picture_target;
extern const picture_target picture_target_png, picture_target_pnm;

#endif
