/*
 * dictionary.h - digested zstd dictionaries, which belong to the model and are shared by all
 * coders.
 *
 * Digesting takes longer than a small picture's streams, and a picture uses the dictionaries of one
 * level; so it happens at first use.  Threads may race there: each digests, the first to publish
 * its work wins (compare and exchange), the others drop theirs.  A published form never changes.
 */
#ifndef VQZI_DICTIONARY_H
#define VQZI_DICTIONARY_H

#include "format/model.h"

#include <zstd.h>

/* MODEL_INVALID when zstd cannot digest the dictionary. */
VQZ_MUST_CHECK vqz_status vqzi_dictionary_compressor(vqzi_dictionary *dictionary,
                                                     const ZSTD_CDict **digested);
VQZ_MUST_CHECK vqz_status vqzi_dictionary_decompressor(vqzi_dictionary *dictionary,
                                                       const ZSTD_DDict **digested);

#endif
