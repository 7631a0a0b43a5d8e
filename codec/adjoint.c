/* adjoint.c - see adjoint.h. */
#include "codec/adjoint.h"
#include "codec/executor.h"

#include <stdlib.h>
#include <string.h>

struct vqzi_adjoint {
    bool able; /* the rest is only whole then */
    const vqzi_prepared_net *prepared;
    vqzi_conv *convs;                /* (op_count), used where the op is a CONV */
    int32_t *rounding[VQZI_MAX_OPS]; /* of these: offsets */
    uint8_t place[VQZI_MAX_OPS + 1]; /* register in whose view the gradient of a register is */
    uint8_t added[VQZI_MAX_OPS];     /* register whose gradient joins that in the op's source, or
                                        NO_REGISTER */
    int exponents[VQZI_MAX_OPS + 1]; /* of the gradient in a register */
};

/* ---- shape ---- */

/* The op that wrote a register, when it has an activation. */
static const vqzi_op *activated(const vqzi_net *net, uint32_t reg) {
    const vqzi_op *op = reg > 0 ? &net->ops[reg - 1] : NULL;
    return op && op->kind != VQZI_D2S && op->activation != VQZI_NONE ? op : NULL;
}

/* Finds what is added where, walking backwards; false for shapes that are not covered. */
static bool find_sums(vqzi_adjoint *adjoint) {
    const vqzi_net *net = adjoint->prepared->net;
    uint8_t adder[VQZI_MAX_OPS + 1]; /* op behind that adds the register */
    bool reached[VQZI_MAX_OPS + 1] = {false};
    memset(adder, VQZI_NO_REGISTER, sizeof adder);
    for (uint32_t i = net->op_count; i-- > 0;) {
        const vqzi_op *op = &net->ops[i];
        uint8_t r = op->src, *added = &adjoint->added[i];
        bool conv = op->kind == VQZI_CONV;
        adjoint->place[i + 1] = (uint8_t)(i + 1);
        if (i + 1 < net->op_count && !reached[i + 1]) {
            if (adder[i + 1] == VQZI_NO_REGISTER || activated(net, i + 1))
                return false;
            adjoint->place[i + 1] = adjoint->place[adder[i + 1] + 1];
        }
        if (op->kind == VQZI_S2D || (conv && op->stride != 1) || (reached[r] && activated(net, r)))
            return false;
        *added = VQZI_NO_REGISTER;
        if (reached[r])
            *added = r;
        else if (adder[r] != VQZI_NO_REGISTER)
            *added = adjoint->place[adder[r] + 1];
        reached[r] = true;
        if (!conv && *added != VQZI_NO_REGISTER)
            return false;
        if (!conv || op->add == VQZI_NO_REGISTER)
            continue;
        if (reached[op->add] || adder[op->add] != VQZI_NO_REGISTER)
            return false;
        adder[op->add] = (uint8_t)i;
    }
    return reached[0] && !activated(net, net->op_count);
}

/* ---- weights ---- */

/* w 2^by, rounded */
static int32_t scale(int32_t w, int by) {
    if (by >= 0)
        return w * (1 << by);
    return by < -16 ? 0 : (w + (1 << (-by - 1))) >> -by;
}

/* The weights of op i turned around: (input channels, kernel, kernel, channels), times 2^by and
   what the shifts of its channels take away. */
static void turn(const vqzi_adjoint *adjoint, uint32_t i, int by, int16_t *weights) {
    const vqzi_op *op = &adjoint->prepared->net->ops[i];
    uint32_t inputs = adjoint->prepared->channels[op->src],
             taps = (uint32_t)op->kernel * op->kernel;
    const int16_t *src = op->weights;
    for (uint32_t o = 0; o < op->channels; o++)
        for (uint32_t tap = taps; tap-- > 0;)
            for (uint32_t c = 0; c < inputs; c++)
                weights[((size_t)c * taps + tap) * op->channels + o] =
                    (int16_t)scale(*src++, by - op->shift[o]);
}

/* The largest power of two that lets the weights of op i fit int16, and their sums with int16
   gradients, rounding included, int32. */
static int find_scale(const vqzi_adjoint *adjoint, uint32_t i) {
    enum { MOST = 30, LIMIT = 49150 }; /* LIMIT 2^15 + 2^29 < 2^31 */
    const vqzi_op *op = &adjoint->prepared->net->ops[i];
    uint32_t inputs = adjoint->prepared->channels[op->src],
             taps = (uint32_t)op->kernel * op->kernel;
    uint64_t largest = 0, sum = 0, room = LIMIT - (uint64_t)taps * op->channels / 2;
    for (uint32_t c = 0; c < inputs; c++) {
        uint64_t total = 0; /* 2^MOST */
        for (uint32_t o = 0; o < op->channels; o++)
            for (uint32_t tap = 0; tap < taps; tap++) {
                int32_t w = op->weights[((size_t)o * taps + tap) * inputs + c];
                uint64_t size = (uint64_t)abs(w) << (MOST - op->shift[o]);
                total += size;
                largest = VQZI_MAX(largest, size);
            }
        sum = VQZI_MAX(sum, total);
    }
    int by = MOST;
    while (by > -MOST && (largest >> (MOST - by) > INT16_MAX || sum >> (MOST - by) > room))
        by--;
    return by;
}

/* The shift after which a gradient is as large as before, on average. */
static int natural_shift(const int16_t *weights, size_t count, uint32_t inputs) {
    uint64_t square = 0;
    int shift = 0;
    for (size_t i = 0; i < count; i++)
        square += (uint64_t)(weights[i] * weights[i]);
    for (square /= inputs; square > 2; square /= 4)
        shift++;
    return shift;
}

static vqz_status pack(vqzi_adjoint *adjoint, uint32_t i, bool *fits) {
    const vqzi_prepared_net *prepared = adjoint->prepared;
    const vqzi_op *op = &prepared->net->ops[i];
    uint32_t inputs = prepared->channels[op->src];
    size_t count = (size_t)inputs * op->kernel * op->kernel * op->channels;
    vqzi_op turned = {.kernel = op->kernel, .stride = 1, .bits = 16, .channels = (uint16_t)inputs};
    uint8_t *shifts = vqzi_allocate(inputs, 1);
    vqz_status status = VQZ_ERROR_MEMORY;
    int *exponents = adjoint->exponents, behind = exponents[adjoint->place[i + 1]], shift;
    int by = find_scale(adjoint, i);
    turned.weights = vqzi_allocate(count, sizeof *turned.weights);
    turned.shift = shifts;
    if (shifts && turned.weights) {
        turn(adjoint, i, by, turned.weights);
        /* what is added must have the same scale */
        shift = natural_shift(turned.weights, count, inputs);
        if (adjoint->added[i] != VQZI_NO_REGISTER)
            shift = by + behind - exponents[adjoint->added[i]];
        exponents[op->src] = behind + by - shift;
        *fits = shift >= 0 && shift <= 30;
        memset(shifts, *fits ? shift : 0, inputs);
        vqzi_taps all = {0, op->kernel, op->kernel, 0, op->channels};
        status = vqzi_conv_pack(&adjoint->convs[i], &turned, op->channels, &all);
    }
    if (status == VQZ_OK) {
        uint32_t padded = (inputs + VQZI_CONV_BLOCK - 1) / VQZI_CONV_BLOCK * VQZI_CONV_BLOCK;
        adjoint->rounding[i] = malloc(padded * sizeof *adjoint->rounding[i]);
        status = adjoint->rounding[i] ? VQZ_OK : VQZ_ERROR_MEMORY;
        for (uint32_t c = 0; c < padded && status == VQZ_OK; c++)
            adjoint->rounding[i][c] = shifts[0] ? 1 << (shifts[0] - 1) : 0;
    }
    free(turned.weights);
    free(shifts);
    return status;
}

vqz_status vqzi_adjoint_create(vqzi_adjoint **out, const vqzi_prepared_net *prepared) {
    const vqzi_net *net = prepared->net;
    vqzi_adjoint *adjoint = calloc(1, sizeof *adjoint);
    if (!adjoint)
        return VQZ_ERROR_MEMORY;
    adjoint->prepared = prepared;
    adjoint->convs = calloc(net->op_count, sizeof *adjoint->convs);
    vqz_status status = adjoint->convs ? VQZ_OK : VQZ_ERROR_MEMORY;
    bool fits = status == VQZ_OK && find_sums(adjoint);
    for (uint32_t i = net->op_count; i-- > 0 && fits && status == VQZ_OK;) {
        if (net->ops[i].kind == VQZI_CONV)
            status = pack(adjoint, i, &fits);
        else
            adjoint->exponents[net->ops[i].src] = adjoint->exponents[adjoint->place[i + 1]];
    }
    adjoint->able = fits;
    if (status == VQZ_OK)
        *out = adjoint;
    else
        vqzi_adjoint_free(adjoint);
    return status;
}

void vqzi_adjoint_free(vqzi_adjoint *adjoint) {
    if (!adjoint)
        return;
    for (uint32_t i = 0; adjoint->convs && i < adjoint->prepared->net->op_count; i++) {
        vqzi_conv_unpack(&adjoint->convs[i]);
        free(adjoint->rounding[i]);
    }
    free(adjoint->convs);
    free(adjoint);
}

bool vqzi_adjoint_is_able(const vqzi_adjoint *adjoint) {
    return adjoint->able;
}

const vqzi_prepared_net *vqzi_adjoint_net(const vqzi_adjoint *adjoint) {
    return adjoint->prepared;
}

int vqzi_adjoint_exponent(const vqzi_adjoint *adjoint) {
    return adjoint->exponents[0];
}

/* ---- running ---- */

/* Elements of the longest row of a register. */
static uint64_t longest_row(const vqzi_prepared_net *prepared, const vqzi_net_plan *plan) {
    uint64_t most = 0;
    for (uint32_t r = 0; r <= prepared->net->op_count; r++)
        most = VQZI_MAX(most, (uint64_t)plan->width * prepared->grow[r] / prepared->shrink[r] *
                                  prepared->channels[r]);
    return most;
}

uint64_t vqzi_adjoint_elements(const vqzi_prepared_net *prepared, const vqzi_net_plan *plan,
                               int threads) {
    return vqzi_mul_sizes(longest_row(prepared, plan), (uint64_t)threads);
}

typedef struct op_job {
    const vqzi_adjoint *adjoint;
    const vqzi_executor *executor;
    uint32_t op;
    int16_t *work; /* (threads, row) */
    uint64_t row;
} op_job;

/* Puts the gradient in place of a row's values, scaled by the slope where these are negative. */
static void put_row(int16_t *values, const int16_t *gradient, size_t count, const vqzi_op *op) {
    if (!op) {
        memcpy(values, gradient, count * sizeof *values);
    } else if (op->activation == VQZI_RELU) {
        for (size_t i = 0; i < count; i++)
            values[i] = (int16_t)(values[i] > 0 ? gradient[i] : 0);
    } else {
        int slope = op->slope, round = 1 << (slope - 1);
        for (size_t i = 0; i < count; i++)
            values[i] = (int16_t)(values[i] < 0 ? (gradient[i] + round) >> slope : gradient[i]);
    }
}

/* A row of the register that an op reads. */
static void run_row(const void *argument, int thread, int64_t y) {
    const op_job *job = argument;
    const vqzi_executor *executor = job->executor;
    const vqzi_net *net = executor->prepared->net;
    const vqzi_op *op = &net->ops[job->op];
    const vqzi_view *src = &executor->views[op->src],
                    *dst = &executor->views[job->adjoint->place[job->op + 1]];
    int16_t *row = job->work + (uint64_t)(thread - executor->team->first) * job->row;
    size_t width = (size_t)(src->x.end - src->x.begin), count = width * src->channels;
    const int16_t *gradient = row;

    if (op->kind == VQZI_CONV) {
        int back = op->kernel / 2; /* kernel - 1 less what is padded before */
        uint8_t added = job->adjoint->added[job->op];
        vqzi_conv_job conv = {&job->adjoint->convs[job->op],
                              job->adjoint->rounding[job->op],
                              vqzi_view_at(dst, y - back, dst->x.begin - back),
                              dst->pitch,
                              NULL,
                              row,
                              (uint32_t)width};
        if (added != VQZI_NO_REGISTER)
            conv.add = vqzi_view_at(&executor->views[added], y, src->x.begin);
        executor->kernels.conv(&conv);
    } else if (op->kind == VQZI_D2S) {
        size_t run = (size_t)op->block * dst->channels;
        for (size_t x = 0; x < width; x++)
            for (int dy = 0; dy < op->block; dy++, row += run)
                memcpy(row,
                       vqzi_view_at(dst, y * op->block + dy, dst->x.begin + (int64_t)x * op->block),
                       run * sizeof *row);
    } else {
        gradient = vqzi_view_at(dst, y, dst->x.begin);
    }
    put_row(vqzi_view_at(src, y, src->x.begin), gradient, count, activated(net, op->src));
}

void vqzi_adjoint_run(const vqzi_adjoint *adjoint, vqzi_executor *executor, int16_t *work) {
    const vqzi_net *net = adjoint->prepared->net;
    uint64_t row = longest_row(adjoint->prepared, executor->plan);
    for (uint32_t i = net->op_count; i-- > 0;) {
        const vqzi_op *op = &net->ops[i];
        const vqzi_view *src = &executor->views[op->src];
        uint64_t positions = (uint64_t)((src->y.end - src->y.begin) * (src->x.end - src->x.begin));
        uint64_t one = (uint64_t)src->channels * VQZI_ELEMENT_WORK;
        if (op->kind == VQZI_CONV)
            one += (uint64_t)op->channels * op->kernel * op->kernel * src->channels;
        op_job job = {adjoint, executor, i, work, row};
        vqzi_team_run(executor->team, positions * one, src->y.begin, src->y.end, run_row, &job);
    }
}
