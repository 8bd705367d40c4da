// zlib as Swift can call it: its initializers are macros.
#pragma once
#include <zlib.h>

static inline int starling_deflate_init(z_stream *stream, int level, int window_bits, int memory_level) {
    return deflateInit2(stream, level, Z_DEFLATED, window_bits, memory_level, Z_DEFAULT_STRATEGY);
}

static inline int starling_inflate_init(z_stream *stream, int window_bits) {
    return inflateInit2(stream, window_bits);
}
