/*
 * cmd_info.c - vqz info: what a .vqz file or a .vqm model holds, for people or as JSON.
 */
#include "cli/commands.h"
#include "cli/file.h"
#include "cli/session.h"
#include "cli/text.h"
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

static const char *channels_name(uint32_t channels) {
    static const char *const names[] = { "gray", "gray + alpha", "RGB", "RGBA" };
    return channels >= 1 && channels <= 4 ? names[channels - 1] : "unknown";
}

static const char *entropy_name(const vqz_info *info) {
    return info->rans ? "rans" : "zstd";
}

static void print_file_json(const char *path, const vqz_info *info, size_t size,
                            const char *model_place) {
    char hash[9];
    text_hash4(hash, info->model_hash);
    printf("{\"file\": ");
    json_write_string(stdout, path);
    printf(", \"type\": \"vqz\", \"version\": %u, \"width\": %u, \"height\": %u, "
           "\"channels\": %u, \"quality\": %u, \"bytes\": %zu, \"bits_per_pixel\": %.6f, "
           "\"header_bytes\": %llu, \"chunk_bytes\": %llu, \"index_bytes\": %llu, "
           "\"icc_bytes\": %llu, \"exif_bytes\": %llu, \"tiles\": %u, \"entropy\": \"%s\", "
           "\"progressive\": %s, \"model\": \"%s\", \"model_found\": ",
           info->version, info->width, info->height, info->channels, info->quality, size,
           8.0 * (double)size / ((double)info->width * info->height), (ull)info->header_bytes,
           (ull)info->chunk_bytes, (ull)info->index_bytes, (ull)info->icc_size,
           (ull)info->exif_size, info->tiles, entropy_name(info), info->scans ? "true" : "false",
           hash);
    if (model_place == NULL)
        fputs("null", stdout);
    else
        json_write_string(stdout, model_place);
    fputs("}\n", stdout);
}

static void print_file_text(const char *path, const vqz_info *info, size_t size,
                            const char *model_place) {
    char hash[9];
    text_hash4(hash, info->model_hash);
    text_print_safe(stdout, path);
    printf(": vqz picture, version %u\n", info->version);
    printf("  size     %ux%u, %s\n", info->width, info->height, channels_name(info->channels));
    printf("  quality  %u\n", info->quality);
    printf("  bytes    %zu, %.4f bits per pixel\n", size,
           8.0 * (double)size / ((double)info->width * info->height));
    printf("           %llu header and checksum, %llu alpha and metadata, %llu index planes\n",
           (ull)info->header_bytes, (ull)info->chunk_bytes, (ull)info->index_bytes);
    printf("  coding   %s, %u tile%s%s\n", info->rans ? "rANS with the model's prior" : "zstd",
           info->tiles, info->tiles == 1 ? "" : "s", info->scans ? ", progressive" : "");
    if (info->icc_size > 0)
        printf("  ICC      %llu bytes\n", (ull)info->icc_size);
    if (info->exif_size > 0)
        printf("  EXIF     %llu bytes\n", (ull)info->exif_size);
    printf("  model    %s, ", hash);
    text_print_safe(stdout, model_place == NULL ? "not found" : model_place);
    putchar('\n');
}

static void print_model_json(const char *path, const vqz_model_info *info, size_t size) {
    printf("{\"file\": ");
    json_write_string(stdout, path);
    fputs(", \"type\": \"vqm\", \"hash\": \"", stdout);
    for (int i = 0; i < 32; i++)
        printf("%02x", info->hash[i]);
    printf("\", \"bytes\": %zu, \"channels\": %u, \"stride\": %u, \"latent_channels\": %u, "
           "\"planes\": %u, \"levels\": %u, \"parameters\": %llu, "
           "\"analysis_macs_per_pixel\": %llu, \"synthesis_macs_per_pixel\": %llu, "
           "\"prior_macs_per_pixel\": %llu, \"prior_stages\": %u, \"card\": ",
           size, info->channels, info->stride, info->latent_channels, info->planes, info->levels,
           (ull)info->parameters, (ull)info->analysis_macs, (ull)info->synthesis_macs,
           (ull)info->prior_macs, info->prior_stages);
    /* the card is JSON if its writer was honest: anything else is quoted.  Line breaks, which valid
       JSON has between its tokens only, would break the one line an object has here */
    if (info->card[0] == '\0')
        fputs("null", stdout);
    else if (!json_is_valid(info->card))
        json_write_string(stdout, info->card);
    else
        for (const char *at = info->card; *at != '\0'; at++)
            putchar(*at == '\n' || *at == '\r' ? ' ' : *at);
    fputs("}\n", stdout);
}

static void print_model_text(const char *path, const vqz_model_info *info, size_t size) {
    text_print_safe(stdout, path);
    printf(": vqz model\n  hash        ");
    for (int i = 0; i < 32; i++)
        printf("%02x", info->hash[i]);
    printf("\n  bytes       %zu\n", size);
    printf("  pictures    %s\n", channels_name(info->channels));
    printf("  latent      %u channels at 1/%u, %u index plane%s, %u quality level%s\n",
           info->latent_channels, info->stride, info->planes, info->planes == 1 ? "" : "s",
           info->levels, info->levels == 1 ? "" : "s");
    printf("  parameters  %llu\n", (ull)info->parameters);
    printf("  cost        %llu multiply-adds a pixel to encode, %llu to decode\n",
           (ull)info->analysis_macs, (ull)info->synthesis_macs);
    if (info->prior_stages > 0)
        printf("  prior       %llu multiply-adds a pixel to encode and to decode, %u stage%s\n",
               (ull)info->prior_macs, info->prior_stages, info->prior_stages == 1 ? "" : "s");
    if (info->card[0] != '\0') {
        fputs("  card        ", stdout);
        for (const char *at = info->card; *at != '\0'; at++) {
            if (*at == '\n')
                fputs("\n              ", stdout);
            else if ((unsigned char)*at >= 0x20 && *at != 0x7F)
                putchar(*at);
        }
        putchar('\n');
    }
}

static vqz_status info_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    session *s = w->session;
    void *data;
    size_t size;
    const char *name = report_input_name(j->input);
    VQZ_TRY(file_read(j->input, s->max_file, &data, &size, diag));
    vqz_status status;
    report_progress_end(&s->report); /* results and progress share the terminal */
    if (size >= 3 && memcmp(data, "VQM", 3) == 0) {
        vqz_model *model = NULL;
        status = vqz_model_load(&model, data, size, &s->limits, diag);
        if (status == VQZ_OK) {
            vqz_model_info info;
            vqz_model_get_info(model, &info);
            (s->settings->json ? print_model_json : print_model_text)(name, &info, size);
            vqz_model_free(model);
        }
    } else if (size >= 3 && memcmp(data, "VQZ", 3) == 0) {
        vqz_info info;
        status = vqz_read_info(data, size, &info, diag);
        if (status == VQZ_OK) {
            char *place = models_locate(s->models, info.model_hash, j->input);
            (s->settings->json ? print_file_json : print_file_text)(name, &info, size, place);
            free(place);
        }
    } else {
        status = vqzi_fail(diag, VQZ_ERROR_FORMAT,
                           "is neither a .vqz picture nor a .vqm model; check the name");
    }
    free(data);
    return status;
}

int run_info(const settings *s, int count, char **operands) {
    const job_rules rules = { .what = "files" };
    return session_run_command(s, &rules, count, operands,
                               &(task){ .run = info_one, .serial = true });
}
