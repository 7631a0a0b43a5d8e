/*
 * main.c - the vqz program: finds the command, parses its options, runs it.
 *
 * Exit codes: 0 done, 1 something failed, 2 wrong usage.
 */
#include "cli/commands.h"
#include "cli/file.h"
#include "cli/report.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void print_overview(FILE *out) {
    fputs("vqz - a picture codec that is trained on your own pictures\n\nUsage:\n", out);
    for (const command *c = commands; c->name != NULL; c++)
        fprintf(out, "  vqz %-10s %-24s %s\n", c->name, c->operands, c->summary);
    fputs("\n"
          "  vqz COMMAND --help      the options of a command\n"
          "  vqz --version           the version\n"
          "\n"
          "Environment:\n"
          "  VQZ_MODEL_PATH          folders with models, separated by colons; searched before\n"
          "                          $XDG_DATA_HOME/vqz/models and $XDG_DATA_DIRS/vqz/models\n"
          "  VQZ_CPU                 highest instruction set to use: scalar, avx2, avxvnni, avx512,\n"
          "                          avx512vnni, neon; the result is the same\n",
          out);
}

static void print_help(const command *c, FILE *out) {
    fprintf(out, "vqz %s - %s\n\nUsage: vqz %s [OPTIONS] %s\n\n%s%sOptions:\n", c->name,
            c->summary, c->name, c->operands, c->details, c->details[0] == '\0' ? "" : "\n");
    options_print(c->options, out);
}

/* Data that never reached standard output (a full disk behind it) must not look like success. */
static int finish(int code) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "vqz: standard output: cannot write: %s\n",
            errno == 0 ? "an earlier write failed" : strerror(errno));
    return code == EXIT_DONE ? EXIT_FAILED : code;
}

static int usage_error(const char *command_name, const char *message) {
    report r;
    report_init(&r, false, false);
    if (command_name == NULL)
        report_error(&r, NULL, "%s; see vqz --help", message);
    else
        report_error(&r, NULL, "%s; see vqz %s --help", message, command_name);
    return EXIT_USAGE;
}

static const command *find_command(const char *name) {
    for (const command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static bool parse_cpu(const char *text, vqz_cpu *cpu) {
    static const struct {
        const char *name;
        vqz_cpu cpu;
    } names[] = { { "", VQZ_CPU_BEST },         { "scalar", VQZ_CPU_SCALAR },
                  { "avx2", VQZ_CPU_AVX2 },     { "avxvnni", VQZ_CPU_AVX_VNNI },
                  { "avx512", VQZ_CPU_AVX512 }, { "avx512vnni", VQZ_CPU_AVX512_VNNI },
                  { "neon", VQZ_CPU_NEON } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text == NULL ? "" : text, names[i].name) == 0) {
            *cpu = names[i].cpu;
            return true;
        }
    return false;
}

static int run_command(const command *c, int count, char **arguments) {
    vqz_limits limits;
    vqz_limits_init(&limits);
    vqz_encode_options encode;
    vqz_encode_options_init(&encode);
    settings s = { .effort = encode.effort,
                   .size = { 128, 128, 0, 0 },
                   .count = 16,
                   .temperature = 1,
                   .qualities = { .values = { 50 }, .count = 1 },
                   .max_pixels = limits.max_pixels,
                   .max_memory = (size_t)limits.max_memory,
                   .max_macs = limits.max_macs_per_pixel };
    train_options_init(&s.train);
    vqz_diag diag = { "" };
    int code = EXIT_USAGE, operand_count = 0;
    char **operands = malloc(((size_t)count + 1) * sizeof *operands);
    if (operands == NULL) {
        fputs("vqz: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    if (options_parse(c->options, count, arguments, &s, operands, &operand_count, &diag) !=
        VQZ_OK) {
        code = usage_error(c->name, diag.message);
    } else if (s.help) {
        print_help(c, stdout);
        code = EXIT_DONE;
    } else if (!parse_cpu(getenv("VQZ_CPU"), &s.cpu)) {
        code = usage_error(NULL, "VQZ_CPU must be scalar, avx2, avxvnni, avx512, avx512vnni or neon, "
                                 "or not set");
    } else if (operand_count == 0 && c->no_operand != NULL) {
        code = usage_error(c->name, c->no_operand);
    } else if (operand_count > 0 && c->no_operand == NULL) {
        code = usage_error(c->name, "takes options alone, no file names");
    } else {
        file_install_signal_handlers();
        code = c->run(&s, operand_count, operands);
    }
    free(operands);
    return code;
}

int main(int argc, char **argv) {
    file_hold_standard_streams();
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0) {
        printf("vqz %s\n", vqz_version());
        return finish(EXIT_DONE);
    }
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        const command *wanted = argc > 2 ? find_command(argv[2]) : NULL;
        if (argc > 2 && wanted == NULL)
            return usage_error(NULL, "there is no such command");
        if (wanted != NULL)
            print_help(wanted, stdout);
        else
            print_overview(stdout);
        return finish(EXIT_DONE);
    }
    const command *c = find_command(name);
    if (c == NULL) {
        char message[160];
        snprintf(message, sizeof message, "unknown %s '%.60s'",
                 name[0] == '-' ? "option" : "command", name);
        return usage_error(NULL, message);
    }
    return finish(run_command(c, argc - 2, argv + 2));
}
