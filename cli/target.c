/*
 * target.c - the search for a quality; see target.h.
 */
#include "cli/target.h"
#include <math.h>

/* Most tries of the bias: each halves what is left, and 1 / 128 of it is far below the tolerance. */
enum { MAX_BIAS_TRIES = 7, WIDEST_STEP = 300, STRONGEST = 900, WEAKEST = -100 };

/* By how many tolerances a value is too large; sizes are compared by their ratio. */
static double excess(const target_search *search, double reached) {
    if (search->kind == TARGET_PSNR)
        return (reached - search->wanted) / 0.1;
    double ratio = reached / search->wanted;
    return log(ratio) / (ratio < 1 ? -log(0.97) : log(1.03));
}

/* The smaller the better: first what keeps the promise (no more bytes, no fewer dB) within the tolerance,
   then what is nearest. */
static double rank(const target_search *search, double reached) {
    double over = excess(search, reached);
    bool kept = search->kind == TARGET_BYTES ? over <= 0 : over >= 0;
    return fabs(over) + (kept && fabs(over) <= 1 ? 0 : 1);
}

static void set_quality(target_search *search) {
    search->now.quality = (search->low + search->high) / 2;
}

void target_begin(target_search *search, target_kind kind, double wanted, bool one_level) {
    *search = (target_search){
        .kind = kind, .wanted = wanted, .one_level = one_level, .low = 0, .high = 101};
    set_quality(search);
}

bool target_next(const target_search *search, target_point *point) {
    *point = search->now;
    return !search->finished;
}

static void set_bias(target_search *search) {
    search->now.rate_bias = (search->low + search->high) / 2;
    search->finished = search->tries++ == MAX_BIAS_TRIES || search->high - search->low < 2;
}

/* From the bisected quality on: a bias above 0 takes from the quality that is too good, one below 0 adds
   to the best. */
static void begin_bias(target_search *search, bool too_large) {
    bool last = search->high == 101 && !search->one_level;
    bool stretch = search->one_level || search->low == 0;
    search->biased = true;
    if (!search->one_level)
        search->now.quality = last ? 100 : search->high;
    bool add = search->one_level ? !too_large : last;
    search->high = add ? 0 : stretch ? STRONGEST : WIDEST_STEP;
    search->low = add ? WEAKEST : 0;
    set_bias(search);
}

bool target_report(target_search *search, double reached) {
    bool too_large = excess(search, reached) > 0, first = search->best.quality == 0;
    bool better = first || rank(search, reached) < rank(search, search->best.reached);
    if (better) {
        search->best = search->now;
        search->best.reached = reached;
    }
    if (rank(search, reached) <= 1.0 / 3) {
        search->finished = true;
    } else if (search->biased) {
        /* where bits have no price, such as at effort 1, there is nothing to gain */
        if (search->tries == 1 && reached == search->unbiased) {
            search->finished = true;
            return better;
        }
        if (too_large)
            search->low = search->now.rate_bias;
        else
            search->high = search->now.rate_bias;
        set_bias(search);
    } else {
        if (too_large || first)
            search->unbiased = reached;
        if (too_large)
            search->high = search->now.quality;
        else
            search->low = search->now.quality;
        if (search->low == 100)
            search->unbiased = reached;
        if (search->one_level || search->high - search->low == 1)
            begin_bias(search, too_large);
        else
            set_quality(search);
    }
    return better;
}

bool target_met(const target_search *search) {
    return fabs(excess(search, search->best.reached)) <= 1;
}
