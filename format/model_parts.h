/*
 * model_parts.h - pieces of a .vqm body that the files of this folder share, and the checks of its
 * networks.
 */
#ifndef VQZI_MODEL_PARTS_H
#define VQZI_MODEL_PARTS_H

#include "format/container.h"
#include "format/model.h"

/* Integers of `width` bytes (2 or 4) as `width` planes, low bytes first: neighbours in a plane
   resemble each other, which the entropy coder likes. */
void vqzi_put_planes(vqzi_buffer *body, const void *values, size_t count, size_t width);
void vqzi_put_net(vqzi_buffer *body, const vqzi_net *net);
/* A prior with at least one stage. */
void vqzi_put_prior(vqzi_buffer *body, const vqzi_prior *prior, uint32_t latent_channels);
/* All of it, whether it obeys the rules or not. */
void vqzi_put_body(vqzi_buffer *body, const vqzi_model *model);

/* The inverses.  A tensor is allocated once its bytes are known to be there, and belongs to the
   caller even when a later part fails. */
VQZ_MUST_CHECK vqz_status vqzi_get_byte(vqzi_reader *body, uint8_t *value);
VQZ_MUST_CHECK vqz_status vqzi_get_bytes(vqzi_reader *body, size_t count, uint8_t **values);
VQZ_MUST_CHECK vqz_status vqzi_get_planes(vqzi_reader *body, size_t count, size_t width,
                                          void **values);
/* outputs: most channels of the last register */
VQZ_MUST_CHECK vqz_status vqzi_get_net(vqzi_reader *body, vqzi_net *net, uint8_t bits,
                                       uint32_t channels, uint32_t outputs);
/* Into model->prior; the planes have been read. */
VQZ_MUST_CHECK vqz_status vqzi_get_prior(vqzi_reader *body, vqzi_model *model);

void vqzi_net_clear(vqzi_net *net);
void vqzi_prior_clear(vqzi_prior *prior);

/* A net under check; first..last is the range that scales may take (see vqzi_register). */
typedef struct vqzi_net_rules {
    const vqzi_net *net;
    const char *name;
    uint32_t levels;
    int32_t first, last;
    uint32_t outputs; /* most channels of the last register */
    vqz_diag *diag;
} vqzi_net_rules;
VQZ_MUST_CHECK vqz_status vqzi_net_check(const vqzi_net_rules *rules);
/* vqzi_model_check without the contents of the dictionaries. */
VQZ_MUST_CHECK vqz_status vqzi_model_check_rules(const vqzi_model *model, const vqz_limits *limits,
                                                 vqz_diag *diag);
/* Every rule of a prior but the limits; the quantiser has passed its own.  OK when there is none.
 */
VQZ_MUST_CHECK vqz_status vqzi_prior_check(const vqzi_model *model, vqz_diag *diag);
/* Bytes of a net's tensors. */
uint64_t vqzi_net_bytes(const vqzi_net *net);

#endif
