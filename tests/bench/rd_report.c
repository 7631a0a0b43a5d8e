/* rd_report.c - what bench_rd found, as Markdown and as CSV. */
#include "tests/bench/bench_rd.h"

#include <math.h>
#include <string.h>

double rd_bpp(const rd_bench *b, double bytes) {
    return 8 * bytes / b->pixels;
}

void rd_summarise(rd_bench *b) {
    for (rd_codec *c = b->codecs; c < b->codecs + b->codec_count; c++) {
        double bytes[RD_MAX_POINTS], psnr[RD_MAX_POINTS];
        for (int i = 0; i < c->count; i++) {
            rd_value *mean = &c->mean[i];
            *mean = (rd_value){0};
            for (size_t k = 0; k < b->picture_count; k++) {
                const rd_value *v = &c->values[k * (size_t)c->count + (size_t)i];
                mean->bytes += v->bytes / (double)b->picture_count;
                mean->psnr += v->psnr / (double)b->picture_count;
                mean->ssim += v->ssim / (double)b->picture_count;
            }
            bytes[i] = mean->bytes;
            psnr[i] = mean->psnr;
        }
        rd_curve_init(&c->curve, bytes, psnr, c->count);
    }
}

/* ---- a peer's bytes at a PSNR ---- */

typedef enum reach { WITHIN, LEAST, BEYOND } reach;

/* LEAST: the peer's smallest files are better than this PSNR already, and bytes are theirs. BEYOND:
   it does not get there. */
static reach bytes_at(double *bytes, const rd_codec *peer, double psnr) {
    const rd_curve *c = &peer->curve;
    if (psnr > c->psnr[c->count - 1])
        return BEYOND;
    *bytes = psnr < c->psnr[0] ? exp(c->log_rate[0]) : rd_curve_rate(c, psnr);
    return psnr < c->psnr[0] ? LEAST : WITHIN;
}

static const rd_codec *first_peer(const rd_bench *b) {
    return b->codecs + (b->model != NULL);
}

static const rd_codec *codecs_end(const rd_bench *b) {
    return b->codecs + b->codec_count;
}

static void write_vqz_table(const rd_bench *b, FILE *file) {
    const rd_codec *v = b->codecs;
    bool least = false;
    fprintf(file, "\n## Bytes at the same PSNR\n\n| -q | bytes | bpp | PSNR dB | MS-SSIM |");
    for (const rd_codec *p = first_peer(b); p < codecs_end(b); p++)
        fprintf(file, " %s bytes |", p->label);
    fprintf(file, "\n|");
    for (int i = 0; i < 5 + (int)(codecs_end(b) - first_peer(b)); i++)
        fprintf(file, " --- |");
    for (int i = 0; i < v->count; i++) {
        fprintf(file, "\n| %s | %.0f | %.4f | %.2f | %.4f |", v->settings[i], v->mean[i].bytes,
                rd_bpp(b, v->mean[i].bytes), v->mean[i].psnr, v->mean[i].ssim);
        for (const rd_codec *p = first_peer(b); p < codecs_end(b); p++) {
            double bytes;
            reach r = bytes_at(&bytes, p, v->mean[i].psnr);
            if (r == BEYOND)
                fprintf(file, " – |");
            else
                fprintf(file, " %.0f%s |", bytes, r == LEAST ? " (least)" : "");
            least |= r == LEAST;
        }
    }
    fprintf(file, "\n");
    if (least)
        fprintf(file, "\n(least): the smallest files that this program makes; they are better than "
                      "this PSNR.\n");
}

static void write_best_row(const rd_bench *b, FILE *file, const char *name, int point) {
    const rd_value *v = &b->codecs->mean[point];
    const rd_codec *best = NULL;
    double least = INFINITY, bytes;
    reach best_reach = BEYOND;
    for (const rd_codec *p = first_peer(b); p < codecs_end(b); p++) {
        reach r = bytes_at(&bytes, p, v->psnr);
        if (r != BEYOND && bytes < least) {
            least = bytes;
            best = p;
            best_reach = r;
        }
    }
    fprintf(file, "| %s | %s | %.4f | %.2f | %.0f |", name, b->codecs->settings[point],
            rd_bpp(b, v->bytes), v->psnr, v->bytes);
    if (best == NULL)
        fprintf(file, " – | – | – |\n");
    else
        fprintf(file, " %.0f | %s%s | %.3f |\n", least, best->label,
                best_reach == LEAST ? " (least)" : "", v->bytes / least);
}

static void write_best_table(const rd_bench *b, FILE *file) {
    const rd_codec *v = b->codecs;
    int points[RD_MAX_POINTS], count = 0;
    for (int i = 0; i < v->count; i++) {
        double bpp = rd_bpp(b, v->mean[i].bytes);
        if (b->least_bpp <= bpp && bpp <= b->most_bpp)
            points[count++] = i;
    }
    fprintf(file, "\n## Beside the best of the others\n\n");
    if (count == 0) {
        fprintf(file, "No setting of vqz is within the range of bpp.\n");
        return;
    }
    fprintf(file,
            "| rate | -q | bpp | PSNR dB | vqz bytes | bytes of the best | which | vqz / best |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    write_best_row(b, file, count == 1 ? "only" : "low", points[0]);
    if (count > 2)
        write_best_row(b, file, "middle", points[count / 2]);
    if (count > 1)
        write_best_row(b, file, "high", points[count - 1]);
}

static void write_bd_table(const rd_bench *b, FILE *file) {
    double to_bytes = b->pixels / 8;
    fprintf(file,
            "\n## BD-rate of vqz\n\n"
            "Mean difference in bytes at equal PSNR; below zero vqz needs fewer. By PCHIP of log "
            "bytes over PSNR\non the mean curves, over the interval of PSNR that both have");
    if (b->least_bpp > 0 || isfinite(b->most_bpp))
        fprintf(file, " from %g to %g bpp", b->least_bpp, b->most_bpp);
    fprintf(file, ".\n\n| beside | BD-rate | over |\n| --- | --- | --- |\n");
    for (const rd_codec *p = first_peer(b); p < codecs_end(b); p++) {
        rd_difference d;
        if (rd_curve_compare(&d, &b->codecs->curve, &p->curve, b->least_bpp * to_bytes,
                             b->most_bpp * to_bytes))
            fprintf(file, "| %s | %+.1f %% | %.2f to %.2f dB |\n", p->label, 100 * (d.factor - 1),
                    d.least_psnr, d.most_psnr);
        else
            fprintf(file, "| %s | – | nothing in common |\n", p->label);
    }
}

static void write_head(const rd_bench *b, FILE *file) {
    bool gray = b->pictures[0]->channels == 1;
    char ground[64];
    if (b->alpha)
        snprintf(ground, sizeof ground, "alpha kept, compared on white");
    else
        snprintf(ground, sizeof ground, "transparency over %06x", b->background);
    fprintf(file, "# Rate and distortion: %s\n\n", b->title);
    fprintf(file,
            "%zu %s of %.0f pixels on average, %s. Sizes are those of whole "
            "files, PSNR and\nMS-SSIM are of their decoded %s samples, all averaged over the "
            "pictures at each setting; equal pictures\ncount as 100 dB, bpp is of all bytes over "
            "all pixels.\n\n",
            b->picture_count, b->picture_count == 1 ? "picture" : "pictures", b->pixels,
            ground, gray ? "gray" : "RGB");
    if (b->model != NULL)
        fprintf(file, "- vqz %s: %s (%s)\n", vqz_version(), b->model_path, b->model_hash);
    for (const rd_codec *p = first_peer(b); p < codecs_end(b); p++) {
        char command[96];
        rd_peer_command(command, p->peer);
        fprintf(file, "- %s: %s%s; %s\n", p->label, command, rd_peer_alpha(b, p->peer), p->version);
    }
    fputs(b->left_out, file);
}

void rd_write_markdown(const rd_bench *b, FILE *file) {
    write_head(b, file);
    if (b->model != NULL) {
        write_vqz_table(b, file);
        if (first_peer(b) < codecs_end(b)) {
            write_bd_table(b, file);
            write_best_table(b, file);
        }
    }
    fprintf(file, "\n## Every setting\n\n| codec | setting | bytes | bpp | PSNR dB | MS-SSIM |\n"
                  "| --- | --- | --- | --- | --- | --- |\n");
    for (const rd_codec *c = b->codecs; c < codecs_end(b); c++)
        for (int i = 0; i < c->count; i++)
            fprintf(file, "| %s | %s | %.0f | %.4f | %.2f | %.4f |\n", c->label, c->settings[i],
                    c->mean[i].bytes, rd_bpp(b, c->mean[i].bytes), c->mean[i].psnr,
                    c->mean[i].ssim);
}

/* A name in quotes, those within doubled (RFC 4180). */
static void write_quoted(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

void rd_write_csv(const rd_bench *b, FILE *file) {
    fprintf(file, "codec,setting,picture,width,height,bytes,bpp,psnr,ms_ssim\n");
    for (const rd_codec *c = b->codecs; c < codecs_end(b); c++)
        for (int i = 0; i < c->count; i++)
            for (size_t k = 0; k < b->picture_count; k++) {
                const rd_value *v = &c->values[k * (size_t)c->count + (size_t)i];
                const vqz_image *image = b->pictures[k];
                fprintf(file, "%s,%s,", c->id, c->settings[i]);
                write_quoted(file, b->names[k]);
                fprintf(file, ",%u,%u,%.0f,%.5f,%.4f,%.5f\n", image->width, image->height, v->bytes,
                        8 * v->bytes / ((double)image->width * image->height), v->psnr, v->ssim);
            }
}
