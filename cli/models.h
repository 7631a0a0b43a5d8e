/*
 * models.h - finds and loads models: by path, by name in the search path, or by the hash that a
 * .vqz file carries.  Only headers are read until the right one is found.
 *
 * Search path: the folders of VQZ_MODEL_PATH (colons), then $XDG_DATA_HOME/vqz/models (by default
 * ~/.local/share/vqz/models), then vqz/models in each folder of $XDG_DATA_DIRS (by default
 * /usr/local/share:/usr/share).
 *
 * Threads may share a store: a model is loaded once, and kept at least until the last of those who
 * borrowed it has given it back.
 */
#ifndef CLI_MODELS_H
#define CLI_MODELS_H

#include "format/common.h"

typedef struct model_store model_store; /* keeps what it has loaded */

VQZ_MUST_CHECK vqz_status models_create(model_store **store, const vqz_limits *limits,
                                        vqz_diag *diag);
void models_free(model_store *store);

/* The model called `name` (a path, a name in the search path, "default"), NULL for the built-in
   one.  Messages name the model.  The model is borrowed from the store, until models_return. */
VQZ_MUST_CHECK vqz_status models_by_name(model_store *store, const char *name,
                                         const vqz_model **model, vqz_diag *diag);

/* The model with this hash: `name` when given and right, the built-in one, the search path, the
   folder of the file that needs it (beside; NULL or "-": none). */
VQZ_MUST_CHECK vqz_status models_by_hash(model_store *store, const uint8_t hash[4],
                                         const char *name, const char *beside,
                                         const vqz_model **model, vqz_diag *diag);

/* Gives a borrowed model back; NULL is allowed. */
void models_return(model_store *store, const vqz_model *model);

/* Where models_by_hash would find it, without loading it: fresh memory; "default" for the built-in
   one, NULL when it is nowhere. */
char *models_locate(const model_store *store, const uint8_t hash[4], const char *beside);

/* The bytes of a model found as models_by_name does; *data is malloc'ed. */
VQZ_MUST_CHECK vqz_status models_read(const model_store *store, const char *name, void **data,
                                      size_t *size, vqz_diag *diag);

#endif
