/*
 * options.c - parses and prints option tables; see options.h.
 */
#include "cli/options.h"
#include "cli/settings.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

/* A decimal number without the hexadecimal, "inf" and "nan" that strtod would take. */
static bool parse_decimal(const char *text, const char **end, double *value) {
    size_t length = strspn(text, "+-0123456789.eE");
    if (length == 0)
        return false;
    char *stop;
    errno = 0;
    double result = strtod(text, &stop);
    if (stop == text || stop > text + length || errno != 0 || !isfinite(result))
        return false;
    *value = result;
    *end = stop;
    return true;
}

static bool parse_real(const char *text, double *value) {
    const char *end;
    return parse_decimal(text, &end, value) && *end == '\0';
}

static bool parse_int(const char *text, long *value) {
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '-')
        return false;
    errno = 0;
    *value = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

/* "4G", "1.5M", "268435456", also with "iB" or "B" after the letter. */
static bool parse_scaled(const char *text, uint64_t base, uint64_t *value) {
    if (!isdigit((unsigned char)text[0]))
        return false;
    if (text[strspn(text, "0123456789")] == '\0') { /* exact, also beyond 2^53 */
        errno = 0;
        *value = strtoull(text, NULL, 10);
        return errno == 0;
    }
    const char *end;
    double number;
    if (!parse_decimal(text, &end, &number))
        return false;
    static const char letters[] = "kmgt";
    const char *found = *end == '\0' ? NULL : strchr(letters, tolower((unsigned char)*end));
    if (found != NULL) {
        for (const char *at = letters; at <= found; at++)
            number *= (double)base;
        end++;
        if (*end == 'i' && base == 1024)
            end++;
        if (*end == 'B' && base == 1024)
            end++;
    }
    if (*end != '\0' || number < 0 || number >= 9e18)
        return false;
    *value = (uint64_t)number;
    return true;
}

static bool parse_duration(const char *text, double *seconds) {
    double total = 0, number;
    if (!isdigit((unsigned char)text[0]))
        return false;
    while (*text != '\0') {
        const char *end;
        if (!parse_decimal(text, &end, &number) || number < 0)
            return false;
        double unit = *end == 'd'   ? 86400
                      : *end == 'h' ? 3600
                      : *end == 'm' ? 60
                                    : 1;
        if (*end != '\0' && strchr("dhms", *end) == NULL)
            return false;
        total += number * unit;
        text = *end == '\0' ? end : end + 1;
    }
    *seconds = total;
    return true;
}

static bool parse_colour(const char *text, uint8_t colour[3]) {
    if (*text == '#')
        text++;
    if (strlen(text) != 6 || strspn(text, "0123456789abcdefABCDEF") != 6)
        return false;
    unsigned long value = strtoul(text, NULL, 16);
    for (int i = 0; i < 3; i++)
        colour[i] = (uint8_t)(value >> (16 - 8 * i));
    return true;
}

static bool parse_qualities(const char *text, quality_list *list) {
    quality_list result = { .count = 0 };
    while (result.count < MAX_QUALITIES) {
        char *end;
        if (!isdigit((unsigned char)*text))
            return false;
        long value = strtol(text, &end, 10);
        if (value < 1 || value > 100)
            return false;
        result.values[result.count++] = (int)value;
        if (*end == '\0') {
            *list = result;
            return true;
        }
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

/* Digits up to 65535, the most that a picture's side has. */
static bool parse_side(const char **text, uint32_t *value) {
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    unsigned long number = strtoul(*text, &end, 10);
    *text = end;
    *value = (uint32_t)number;
    return errno == 0 && number <= 65535;
}

static bool parse_region(const char *text, bool placed, region *result) {
    region r = { 0 };
    if (!parse_side(&text, &r.width) || *text++ != 'x' || !parse_side(&text, &r.height))
        return false;
    if (placed && (*text++ != '+' || !parse_side(&text, &r.x) || *text++ != '+' ||
                   !parse_side(&text, &r.y)))
        return false;
    if (*text != '\0' || r.width == 0 || r.height == 0)
        return false;
    *result = r;
    return true;
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *at = choices; length > 0;) {
        size_t word = strcspn(at, "|");
        if (word == length && strncmp(at, text, length) == 0)
            return true;
        if (at[word] == '\0')
            break;
        at += word + 1;
    }
    return false;
}

static vqz_status set_value(const option *o, const char *text, void *target, vqz_diag *diag) {
    void *field = (char *)target + o->offset;
    const char *wanted = "";
    uint64_t scaled;
    double real;
    long whole;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return VQZ_OK;
    case OPTION_TEXT:
        if (text[0] == '\0')
            break;
        *(const char **)field = text;
        return VQZ_OK;
    case OPTION_CHOICE:
        if (!is_choice(o->value_name, text))
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "--%s takes %s, not '%s'", o->name,
                             o->value_name, text);
        *(const char **)field = text;
        return VQZ_OK;
    case OPTION_INT:
        if (!parse_int(text, &whole) || (double)whole < o->min || (double)whole > o->max)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                             "--%s takes a whole number from %.0f to %.0f, not '%s'", o->name,
                             o->min, o->max, text);
        *(int *)field = (int)whole;
        return VQZ_OK;
    case OPTION_COUNT:
        wanted = " such as 500, 20k or 3M";
        if (!parse_scaled(text, 1000, &scaled))
            break;
        *(uint64_t *)field = scaled;
        return VQZ_OK;
    case OPTION_BYTES:
        wanted = " such as 65536, 512M or 4G";
        if (!parse_scaled(text, 1024, &scaled) || scaled > SIZE_MAX || (double)scaled < o->min)
            break;
        *(size_t *)field = (size_t)scaled;
        return VQZ_OK;
    case OPTION_REAL:
        if (!parse_real(text, &real) || real < o->min || real > o->max)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                             "--%s takes a number from %g to %g, not '%s'", o->name, o->min,
                             o->max, text);
        *(double *)field = real;
        return VQZ_OK;
    case OPTION_DURATION:
        wanted = " such as 45s, 20m or 1h30m";
        if (!parse_duration(text, &real) || real <= 0 || real > o->max)
            break;
        *(double *)field = real;
        return VQZ_OK;
    case OPTION_COLOUR:
        wanted = " of six hexadecimal digits, such as ffffff";
        if (!parse_colour(text, field))
            break;
        return VQZ_OK;
    case OPTION_QUALITIES:
        wanted = " of 1 to 100 numbers from 1 to 100, such as 10,50,90";
        if (!parse_qualities(text, field))
            break;
        return VQZ_OK;
    case OPTION_SIZE:
        wanted = " in pixels, such as 640x480";
        if (!parse_region(text, false, field))
            break;
        return VQZ_OK;
    case OPTION_REGION:
        wanted = " in pixels from the top left, such as 640x480+100+50";
        if (!parse_region(text, true, field))
            break;
        return VQZ_OK;
    }
    return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "--%s takes %s%s, not '%s'", o->name, o->value_name,
                     wanted, text);
}

/* ---- parsing ---- */

/* Levenshtein distance of two short words, for "did you mean". */
static size_t edit_distance(const char *a, const char *b) {
    enum { LONGEST = 31 };
    size_t length = strlen(b), row[LONGEST + 1];
    if (length > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t insert = VQZI_MIN(row[j], row[j - 1]) + 1;
            row[j] = VQZI_MIN(insert, change);
        }
    }
    return row[length];
}

static vqz_status unknown_option(const option *table, const char *name, int length,
                                 vqz_diag *diag) {
    char word[64];
    snprintf(word, sizeof word, "%.*s", length, name);
    const option *best = NULL;
    size_t best_distance = 3; /* further away is no typing error */
    for (const option *o = table; o->name != NULL; o++) {
        size_t distance = edit_distance(word, o->name);
        if (distance < best_distance && 2 * distance < strlen(o->name)) {
            best_distance = distance;
            best = o;
        }
    }
    if (best != NULL)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown option --%s; did you mean --%s?", word,
                         best->name);
    return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown option --%s", word);
}

static vqz_status parse_long(const option *table, const char *argument, const char *next,
                             bool *used_next, void *target, vqz_diag *diag) {
    const char *name = argument + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    for (const option *o = table; o->name != NULL; o++) {
        if (strlen(o->name) != length || strncmp(o->name, name, length) != 0)
            continue;
        if (o->kind == OPTION_FLAG && value != NULL)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "--%s takes no value", o->name);
        if (o->kind != OPTION_FLAG && value == NULL) {
            if (next == NULL)
                return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "--%s needs a value: --%s %s", o->name,
                                 o->name, o->value_name);
            value = next;
            *used_next = true;
        }
        return set_value(o, value, target, diag);
    }
    return unknown_option(table, name, (int)VQZI_MIN(length, 60), diag);
}

static vqz_status parse_letters(const option *table, const char *argument, const char *next,
                                bool *used_next, void *target, vqz_diag *diag) {
    for (const char *at = argument + 1; *at != '\0'; at++) {
        const option *o = table;
        while (o->name != NULL && o->letter != *at)
            o++;
        if (o->name == NULL)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown option -%c", *at);
        if (o->kind == OPTION_FLAG) {
            VQZ_TRY(set_value(o, NULL, target, diag));
            continue;
        }
        const char *value = at[1] != '\0' ? at + 1 : next;
        if (value == NULL)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "-%c needs a value: -%c %s", *at, *at,
                             o->value_name);
        *used_next = at[1] == '\0';
        return set_value(o, value, target, diag);
    }
    return VQZ_OK;
}

vqz_status options_parse(const option *table, int count, char **arguments, void *target,
                         char **operands, int *operand_count, vqz_diag *diag) {
    bool ended = false;
    *operand_count = 0;
    for (int i = 0; i < count; i++) {
        char *argument = arguments[i];
        if (ended || argument[0] != '-' || argument[1] == '\0') {
            operands[(*operand_count)++] = argument;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            ended = true;
            continue;
        }
        const char *next = i + 1 < count ? arguments[i + 1] : NULL;
        bool used_next = false;
        if (argument[1] == '-')
            VQZ_TRY(parse_long(table, argument, next, &used_next, target, diag));
        else
            VQZ_TRY(parse_letters(table, argument, next, &used_next, target, diag));
        i += used_next;
    }
    return VQZ_OK;
}

/* ---- help ---- */

enum { HELP_COLUMN = 28 };

void options_print(const option *table, FILE *out) {
    for (const option *o = table; o->name != NULL; o++) {
        char left[64];
        char letter[5] = "    ";
        if (o->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        int width = snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name,
                             o->value_name == NULL ? "" : " ",
                             o->value_name == NULL ? "" : o->value_name);
        fputs(left, out);
        if (width >= HELP_COLUMN - 1) {
            putc('\n', out);
            width = 0;
        }
        fprintf(out, "%*s", HELP_COLUMN - width, "");
        for (const char *at = o->help; *at != '\0'; at++) {
            putc(*at, out);
            if (*at == '\n')
                fprintf(out, "%*s", HELP_COLUMN, "");
        }
        putc('\n', out);
    }
}
