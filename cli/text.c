/*
 * text.c - strings and paths for the program; see text.h.
 */
#include "cli/text.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *text_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    return text;
}

vqz_status text_list_add(text_list *list, char *item) {
    if (item == NULL)
        return VQZ_ERROR_MEMORY;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        char **items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) {
            free(item);
            return VQZ_ERROR_MEMORY;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return VQZ_OK;
}

void text_list_clear(text_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (text_list){ 0 };
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

const char *path_extension(const char *path) {
    const char *name = path_name(path);
    const char *dot = strrchr(name, '.');
    /* ".hidden" is a name, not an extension */
    return dot == NULL || dot == name ? name + strlen(name) : dot + 1;
}

bool path_has_extension(const char *path, const char *const *extensions) {
    const char *extension = path_extension(path);
    for (; *extensions != NULL; extensions++)
        if (strcasecmp(extension, *extensions) == 0)
            return true;
    return false;
}

char *path_replace_extension(const char *path, const char *extension) {
    const char *old = path_extension(path);
    size_t length = (size_t)(old - path);
    if (*old != '\0')
        length--; /* the dot */
    return text_format("%.*s.%s", (int)length, path, extension);
}

char *path_join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    bool slash = length > 0 && folder[length - 1] == '/';
    return text_format("%s%s%s", folder, slash ? "" : "/", name);
}

char *path_folder(const char *path) {
    const char *name = path_name(path);
    if (name == path)
        return text_format(".");
    size_t length = (size_t)(name - path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return text_format("%.*s", (int)length, path);
}

void text_hash4(char text[9], const uint8_t hash[4]) {
    snprintf(text, 9, "%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
}

void text_print_safe(FILE *out, const char *text) {
    for (; *text != '\0'; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text, out);
}

void text_bytes(char text[24], uint64_t bytes) {
    if (bytes < 10000)
        snprintf(text, 24, "%u byte%s", (unsigned)bytes, bytes == 1 ? "" : "s");
    else if (bytes < 10000 * UINT64_C(1024))
        snprintf(text, 24, "%.1f KiB", (double)bytes / 1024);
    else
        snprintf(text, 24, "%.1f MiB", (double)bytes / (1024 * 1024));
}

/* Length of the well-formed UTF-8 sequence at text, 0 when it is not one (RFC 3629). */
static int utf8_length(const unsigned char *text) {
    if (text[0] < 0x80)
        return 1;
    int length = text[0] >= 0xF0 ? 4 : text[0] >= 0xE0 ? 3 : 2;
    if (text[0] < 0xC2 || text[0] > 0xF4)
        return 0;
    for (int i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    bool overlong = (text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xF0 && text[1] < 0x90);
    bool surrogate = text[0] == 0xED && text[1] >= 0xA0;
    bool beyond = text[0] == 0xF4 && text[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : length;
}

void json_write_string(FILE *out, const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    putc('"', out);
    while (*at != '\0') {
        int length = utf8_length(at);
        if (length == 0) {
            fputs("\\ufffd", out);
            at++;
        } else if (length == 1 && (*at < 0x20 || *at == 0x7F)) {
            fprintf(out, "\\u%04x", *at++);
        } else {
            if (*at == '"' || *at == '\\')
                putc('\\', out);
            fwrite(at, 1, (size_t)length, out);
            at += length;
        }
    }
    putc('"', out);
}

/* ---- JSON syntax: each function returns the end of what it recognised, or NULL ---- */

enum { JSON_DEPTH = 64 };

static const char *json_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

static const char *json_string(const char *at) {
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\') {
            at++;
            if (*at == 'u') {
                if (strspn(at + 1, "0123456789abcdefABCDEF") < 4)
                    return NULL;
                at += 5;
            } else if (*at != '\0' && strchr("\"\\/bfnrt", *at) != NULL) {
                at++;
            } else {
                return NULL;
            }
            continue;
        }
        int length = utf8_length((const unsigned char *)at);
        if (length == 0)
            return NULL;
        at += length;
    }
    return at + 1;
}

static const char *json_digits(const char *at) {
    size_t length = strspn(at, "0123456789");
    return length == 0 ? NULL : at + length;
}

static const char *json_number(const char *at) {
    at += *at == '-';
    at = *at == '0' ? at + 1 : json_digits(at);
    if (at != NULL && *at == '.')
        at = json_digits(at + 1);
    if (at != NULL && (*at == 'e' || *at == 'E')) {
        at++;
        at += *at == '+' || *at == '-';
        at = json_digits(at);
    }
    return at;
}

static const char *json_value(const char *at, int depth) {
    static const char *const words[] = { "true", "false", "null" };
    at = json_space(at);
    if (*at == '"')
        return json_string(at);
    if (*at != '{' && *at != '[') {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (strncmp(at, words[i], strlen(words[i])) == 0)
                return at + strlen(words[i]);
        return json_number(at);
    }
    if (depth == JSON_DEPTH)
        return NULL;
    bool object = *at == '{';
    char close = object ? '}' : ']';
    at = json_space(at + 1);
    if (*at == close)
        return at + 1;
    for (;;) {
        if (object) {
            at = json_string(json_space(at));
            if (at == NULL)
                return NULL;
            at = json_space(at);
            if (*at++ != ':')
                return NULL;
        }
        at = json_value(at, depth + 1);
        if (at == NULL)
            return NULL;
        at = json_space(at);
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

bool json_is_valid(const char *text) {
    const char *end = json_value(text, 0);
    return end != NULL && *json_space(end) == '\0';
}
