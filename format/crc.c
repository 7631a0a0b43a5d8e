/*
 * crc.c - CRC-32 (IEEE 802.3, reflected 0xEDB88320), eight bytes a step.
 *
 * The tables are constants that the preprocessor spells out: CRC is linear over XOR, so that a
 * table of 256 entries follows from its eight entries for single bits.
 */
#include "format/container.h"

#define BIT0(x, a)                   (x), (x) ^ (a)
#define BIT1(x, a, b)                BIT0(x, a), BIT0((x) ^ (b), a)
#define BIT2(x, a, b, c)             BIT1(x, a, b), BIT1((x) ^ (c), a, b)
#define BIT3(x, a, b, c, d)          BIT2(x, a, b, c), BIT2((x) ^ (d), a, b, c)
#define BIT4(x, a, b, c, d, e)       BIT3(x, a, b, c, d), BIT3((x) ^ (e), a, b, c, d)
#define BIT5(x, a, b, c, d, e, f)    BIT4(x, a, b, c, d, e), BIT4((x) ^ (f), a, b, c, d, e)
#define BIT6(x, a, b, c, d, e, f, g) BIT5(x, a, b, c, d, e, f), BIT5((x) ^ (g), a, b, c, d, e, f)
#define SLICE(a, b, c, d, e, f, g, h)                                                              \
    BIT6(0u, a, b, c, d, e, f, g), BIT6(0u ^ (h), a, b, c, d, e, f, g)

/* crc_table[k][n]: what byte n contributes k bytes later */
static const uint32_t crc_table[8][256] = {
    {SLICE(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, 0x1db71064, 0x3b6e20c8, 0x76dc4190,
           0xedb88320)},
    {SLICE(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, 0x4ac21251, 0x958424a2, 0xf0794f05,
           0x3b83984b)},
    {SLICE(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, 0x1c26a370, 0x384d46e0, 0x709a8dc0,
           0xe1351b80)},
    {SLICE(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, 0x5019579f, 0xa032af3e, 0x9b14583d,
           0xed59b63b)},
    {SLICE(0x3d6029b0, 0x7ac05360, 0xf580a6c0, 0x30704bc1, 0x60e09782, 0xc1c12f04, 0x58f35849,
           0xb1e6b092)},
    {SLICE(0xcb5cd3a5, 0x4dc8a10b, 0x9b914216, 0xec53826d, 0x03d6029b, 0x07ac0536, 0x0f580a6c,
           0x1eb014d8)},
    {SLICE(0xa6770bb4, 0x979f1129, 0xf44f2413, 0x33ef4e67, 0x67de9cce, 0xcfbd399c, 0x440b7579,
           0x8816eaf2)},
    {SLICE(0xccaa009e, 0x4225077d, 0x844a0efa, 0xd3e51bb5, 0x7cbb312b, 0xf9766256, 0x299dc2ed,
           0x533b85da)},
};

static uint32_t load_le32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

uint32_t vqzi_crc32(uint32_t crc, const void *data, size_t size) {
    const uint8_t *bytes = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low = crc ^ load_le32(bytes), high = load_le32(bytes + 4);
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^
              crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^ crc_table[3][high & 255] ^
              crc_table[2][high >> 8 & 255] ^ crc_table[1][high >> 16 & 255] ^
              crc_table[0][high >> 24];
    }
    for (; size > 0; size--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes++) & 255];
    return ~crc;
}
