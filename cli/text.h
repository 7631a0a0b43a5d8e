/*
 * text.h - strings and paths for the program: formatted allocation, lists, extensions, JSON.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include "format/common.h"
#include <stdio.h>

/* printf into fresh memory; NULL when there is none. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A growing list that owns its strings. */
typedef struct text_list {
    char **items;
    size_t count, capacity;
} text_list;
/* Takes ownership of item, also on failure; item may be NULL from a failed allocation. */
VQZ_MUST_CHECK vqz_status text_list_add(text_list *list, char *item);
void text_list_clear(text_list *list);

/* The extension of a path without its dot, "" when there is none; points into path. */
const char *path_extension(const char *path);
bool path_has_extension(const char *path, const char *const *extensions);
/* "a/b.png", "vqz" -> "a/b.vqz"; fresh memory. */
char *path_replace_extension(const char *path, const char *extension);
/* Joins with one slash; fresh memory. */
char *path_join(const char *folder, const char *name);
/* The folder part, "." when there is none; fresh memory. */
char *path_folder(const char *path);
/* The part after the last slash; points into path. */
const char *path_name(const char *path);

/* First four bytes of a model hash in hexadecimal, as messages show it: 9 bytes with the NUL. */
void text_hash4(char text[9], const uint8_t hash[4]);
/* Writes text of a file with its control characters made harmless for a terminal. */
void text_print_safe(FILE *out, const char *text);
/* "1 byte", "1234 bytes", "12.1 KiB", "3.4 MiB". */
void text_bytes(char text[24], uint64_t bytes);

/* Writes a JSON string; bytes that are not UTF-8 (file names may hold any) become U+FFFD. */
void json_write_string(FILE *out, const char *text);
/* Whether text is one complete JSON value (RFC 8259), nested at most 64 deep. */
bool json_is_valid(const char *text);

#endif
