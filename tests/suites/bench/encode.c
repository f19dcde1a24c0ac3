/* The yardstick of the benchmark: libopus in a plain loop, with nothing around it.
 *
 * encode IN.pcm OUT BITRATE COMPLEXITY FRAME_MS
 *
 * Reads 16-bit little-endian PCM (16 kHz mono, whole frames), writes each packet behind its length (32 bits).
 * Stands on a little-endian machine, as every Raspberry Pi is.
 */
#include <opus/opus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { RATE = 16000, CHANNELS = 1, LONGEST_FRAME = RATE / 1000 * 60, PACKET_BYTES = 4000 };

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "encode: %s\n", what);
        exit(1);
    }
}

static OpusEncoder *encoder_of(opus_int32 bitrate, opus_int32 complexity)
{
    int error;
    OpusEncoder *encoder = opus_encoder_create(RATE, CHANNELS, OPUS_APPLICATION_VOIP, &error);
    require(error == OPUS_OK, "no encoder");
    require(opus_encoder_ctl(encoder, OPUS_SET_BITRATE(bitrate)) == OPUS_OK, "bitrate refused");
    require(opus_encoder_ctl(encoder, OPUS_SET_COMPLEXITY(complexity)) == OPUS_OK, "complexity refused");
    return encoder;
}

int main(int count, char **arguments)
{
    static opus_int16 pcm[LONGEST_FRAME];
    static unsigned char packet[PACKET_BYTES];

    require(count == 6, "IN.pcm OUT BITRATE COMPLEXITY FRAME_MS");
    FILE *in = fopen(arguments[1], "rb");
    FILE *out = fopen(arguments[2], "wb");
    OpusEncoder *encoder = encoder_of(atoi(arguments[3]), atoi(arguments[4]));
    size_t frame = RATE / 1000 * (size_t)atoi(arguments[5]);
    require(in && out && frame <= LONGEST_FRAME, "files or frame unusable");
    while (fread(pcm, sizeof *pcm, frame, in) == frame) {
        opus_int32 size = opus_encode(encoder, pcm, (int)frame, packet, PACKET_BYTES);
        require(size > 0, "opus_encode failed");
        uint32_t length = (uint32_t)size;
        require(fwrite(&length, sizeof length, 1, out) == 1, "cannot write");
        require(fwrite(packet, 1, length, out) == length, "cannot write");
    }
    require(fclose(out) == 0, "cannot write");
    opus_encoder_destroy(encoder);
    fclose(in);
    return 0;
}
