/*
 * test_rans.c - the entropy coder of the prior: round trips, the length of its streams, damage.
 */
#include "format/rans.h"
#include "tests/support/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 3000 };

/* An interval, or `bits` equally likely bits of value `start` when frequency is 0. */
typedef struct test_symbol {
    uint32_t start, frequency, bits;
} test_symbol;

typedef struct message {
    test_symbol symbols[MOST];
    size_t count;
    double information; /* bits */
    vqzi_buffer stream;
} message;

/* The seed of a random test; SEED= replays one. */
static uint64_t base_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

/* Kinds of messages: 0 anything, 1 near certain, 2 rare, 3 bits, 4 even chances, 5 all at 0. */
enum { KINDS = 6 };
static test_symbol draw(test_random *random, int kind) {
    static const uint32_t edges[6] = {1, 2, 255, 32768, 65534, 65535};
    uint32_t frequency = (uint32_t)test_random_range(random, 1, 65535);
    if (kind == 3 || (kind == 0 && test_random_range(random, 0, 3) == 0)) {
        uint32_t bits = (uint32_t)test_random_range(random, 0, 16);
        uint32_t value = (uint32_t)test_random_range(random, 0, (1 << bits) - 1);
        return (test_symbol){value, 0, bits};
    }
    if (kind == 0 && test_random_range(random, 0, 1) == 0)
        frequency = edges[test_random_range(random, 0, 5)];
    if (kind == 1)
        frequency = (uint32_t)test_random_range(random, 65000, 65535);
    if (kind == 2)
        frequency = (uint32_t)test_random_range(random, 1, 20);
    if (kind == 4)
        frequency = 32768;
    uint32_t room = 65536 - frequency, start = room;
    if (kind == 4)
        start = test_random_range(random, 0, 1) ? 32768 : 0;
    else if (kind == 5)
        start = 0;
    else if (test_random_range(random, 0, 2) > 0) /* often as high as it gets, the dearest place */
        start = (uint32_t)test_random_range(random, 0, (int32_t)room);
    return (test_symbol){start, frequency, 0};
}

static void encode(message *m, vqzi_rans_encoder *encoder, test_random *random, int kind,
                   size_t count) {
    *m = (message){.count = count};
    for (size_t i = 0; i < count; i++) {
        test_symbol s = m->symbols[i] = draw(random, kind);
        if (s.frequency > 0) {
            vqzi_rans_put(encoder, s.start, s.frequency);
            m->information += 16 - log2(s.frequency);
        } else {
            vqzi_rans_put_bits(encoder, s.start, s.bits);
            m->information += s.bits;
        }
    }
    assert_int_equal(vqzi_rans_finish(encoder, &m->stream), VQZ_OK);
}

/* The number of symbols that come out as they went in, before the first that does not. */
static size_t decode(const message *m, vqzi_rans_decoder *decoder) {
    for (size_t i = 0; i < m->count; i++) {
        test_symbol s = m->symbols[i];
        if (s.frequency == 0) {
            if (vqzi_rans_bits(decoder, s.bits) != s.start)
                return i;
            continue;
        }
        uint32_t slot = vqzi_rans_slot(decoder);
        if (slot < s.start || slot >= s.start + s.frequency)
            return i;
        vqzi_rans_take(decoder, s.start, s.frequency);
    }
    return m->count;
}

static void test_round_trip(void **state) {
    (void)state;
    static message m;
    vqzi_rans_encoder encoder = {0};
    test_random random = {base_seed()};
    double worst = 0;
    for (int trial = 0; trial < 3000; trial++) {
        int most = trial % 10 == 0 ? MOST : 12;
        encode(&m, &encoder, &random, trial % KINDS, (size_t)test_random_range(&random, 0, most));
        vqzi_rans_decoder decoder;
        vqzi_rans_open(&decoder, m.stream.data, m.stream.size);
        assert_int_equal(decode(&m, &decoder), m.count);
        assert_true(vqzi_rans_done(&decoder));
        assert_true(vqzi_rans_empty(&decoder));
        if (m.count == 0)
            assert_int_equal(m.stream.size, 0);
        /* the bound of rans.h; nothing but the first symbol's 16 bits and the last byte's rest */
        double over = (double)m.stream.size - m.information / 8;
        assert_true(over <= 3 + 1e-6);
        worst = over > worst ? over : worst;
        vqzi_buffer_clear(&m.stream);
    }
    assert_true(worst > 2); /* the bound is close */
    vqzi_rans_encoder_clear(&encoder);
}

/* A million symbols of a hundredth of a bit. */
static void test_long_stream(void **state) {
    (void)state;
    enum { COUNT = 1000000, FREQUENCY = 65000 };
    vqzi_rans_encoder encoder = {0};
    vqzi_buffer stream = {0};
    for (int i = 0; i < COUNT; i++)
        vqzi_rans_put(&encoder, 65536 - FREQUENCY, FREQUENCY);
    assert_int_equal(vqzi_rans_finish(&encoder, &stream), VQZ_OK);
    double information = COUNT * (16 - log2(FREQUENCY));
    assert_true(stream.size <= information / 8 + 3 + 1e-3);
    vqzi_rans_decoder decoder;
    vqzi_rans_open(&decoder, stream.data, stream.size);
    for (int i = 0; i < COUNT; i++) {
        assert_true(vqzi_rans_slot(&decoder) >= 65536 - FREQUENCY);
        assert_false(vqzi_rans_done(&decoder));
        vqzi_rans_take(&decoder, 65536 - FREQUENCY, FREQUENCY);
    }
    assert_true(vqzi_rans_done(&decoder));
    vqzi_buffer_clear(&stream);
    vqzi_rans_encoder_clear(&encoder);
}

/* A table of five symbols.  (Bits would not do: altered ones are other bits, and no damage.) */
static const uint32_t starts[6] = {0, 20011, 60011, 63012, 64212, 65536};

static void decode_table(vqzi_rans_decoder *decoder, uint8_t *symbols, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint8_t s = 0;
        while (vqzi_rans_slot(decoder) >= starts[s + 1])
            s++;
        vqzi_rans_take(decoder, starts[s], starts[s + 1] - starts[s]);
        symbols[i] = s;
    }
}

/* A stream that was cut starts as the whole does, and says that it is not whole; bytes that were
   altered never pass.  What is read lies in a block of its own, so that sanitizers see a step
   outside. */
static void test_damage(void **state) {
    (void)state;
    enum { COUNT = 240 };
    vqzi_rans_encoder encoder = {0};
    vqzi_rans_decoder decoder;
    test_random random = {base_seed()};
    int passed = 0, trials = 0;
    for (int round = 0; round < 20; round++) {
        uint8_t symbols[COUNT], got[COUNT];
        vqzi_buffer stream = {0};
        for (int i = 0; i < COUNT; i++) {
            uint8_t symbol = symbols[i] = (uint8_t)test_random_range(&random, 0, 4);
            vqzi_rans_put(&encoder, starts[symbol], starts[symbol + 1] - starts[symbol]);
        }
        assert_int_equal(vqzi_rans_finish(&encoder, &stream), VQZ_OK);
        for (size_t size = 0; size < stream.size; size++, trials++) {
            uint8_t *cut = malloc(size > 0 ? size : 1);
            memcpy(cut, stream.data, size);
            vqzi_rans_open(&decoder, cut, size);
            decode_table(&decoder, got, COUNT);
            passed += vqzi_rans_done(&decoder);
            if (size + 40 < stream.size) /* noise may be of cheaper symbols */
                assert_true(vqzi_rans_empty(&decoder));
            /* the state holds 8 bytes back, and the dearest symbol takes 5.8 bits */
            size_t good = size > 8 ? size - 8 : 0;
            assert_memory_equal(got, symbols, good);
            free(cut);
        }
        for (size_t at = 0; at < stream.size; at++, trials++) {
            uint8_t *altered = malloc(stream.size + 1);
            memcpy(altered, stream.data, stream.size);
            altered[stream.size] = (uint8_t)test_random_next(&random);
            bool longer = test_random_range(&random, 0, 1) != 0;
            if (!longer)
                altered[at] ^= (uint8_t)test_random_range(&random, 1, 255);
            vqzi_rans_open(&decoder, altered, stream.size + longer);
            decode_table(&decoder, got, COUNT);
            /* it may be another message by chance, never the same */
            if (vqzi_rans_done(&decoder)) {
                assert_true(memcmp(got, symbols, COUNT) != 0);
                passed++;
            }
            free(altered);
        }
        vqzi_buffer_clear(&stream);
    }
    if (passed * 50 > trials)
        fail_msg("%d of %d damaged streams pass", passed, trials);
    vqzi_rans_encoder_clear(&encoder);
}

/* A message has one spelling. */
static void test_spelling(void **state) {
    (void)state;
    static const uint8_t one[1] = {1}, zero[2] = {0, 200}, three[1] = {3};
    vqzi_rans_decoder decoder;
    vqzi_rans_open(&decoder, NULL, 0);
    assert_true(vqzi_rans_done(&decoder));
    vqzi_rans_open(&decoder, one, sizeof one);
    assert_false(vqzi_rans_done(&decoder));
    vqzi_rans_open(&decoder, three, sizeof three);
    vqzi_rans_take(&decoder, 2, 60000);
    assert_true(vqzi_rans_done(&decoder));
    vqzi_rans_open(&decoder, zero, sizeof zero);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(vqzi_rans_slot(&decoder), 0);
        vqzi_rans_take(&decoder, 0, 1 + (uint32_t)i);
        assert_false(vqzi_rans_done(&decoder));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_long_stream),
        cmocka_unit_test(test_damage), cmocka_unit_test(test_spelling)};
    return cmocka_run_group_tests_name("rans", tests, NULL, NULL);
}
