/*
 * corpus_walk.h - the picture files under a list of files and folders.
 */
#ifndef TRAINER_CORPUS_WALK_H
#define TRAINER_CORPUS_WALK_H

#include "trainer/corpus.h"

/* Of picture files by their usual names; NULL-terminated, lower case, without a dot. */
extern const char *const picture_extensions[];

typedef struct corpus_files {
    char **paths; /* in a fixed order: as given, folders sorted by name */
    size_t count;
    size_t unreadable; /* folders that could not be opened */
} corpus_files;

/* Named files are taken as they are; folders are searched for the usual extensions, following
   symbolic links but entering no folder twice and skipping hidden names.  A named path that does
   not exist is an error.  On failure *files is released. */
VQZ_MUST_CHECK vqz_status corpus_walk(corpus_files *files, const corpus_options *options,
                                      vqz_diag *diag);
void corpus_files_free(corpus_files *files);

#endif
