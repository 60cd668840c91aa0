// The codecs of FORMAT.md as a C ABI: what Python calls through ctypes and the execution provider calls
// directly.
//
// Every function checks every length before it uses it, returns a status (0, or a negative code that
// osq_error puts in words) and lets no exception out. Outputs are written in full on success and hold no
// promise otherwise. `threads` is an upper bound; results never depend on it.
#ifndef ONNXSQUEEZE_CODEC_H_
#define ONNXSQUEEZE_CODEC_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OSQ_API __attribute__((visibility("default")))

enum {
  OSQ_OK = 0,
  OSQ_BAD_ARGUMENT = -1,
  OSQ_TOO_LARGE = -2,
  OSQ_NO_MEMORY = -3,
  OSQ_INTERNAL = -4,
  OSQ_SEGMENT_COUNT = -5,
  OSQ_SEGMENTS = -6,
  OSQ_PLANE_LENGTH = -7,
  OSQ_LEVEL_LENGTH = -8,
  OSQ_ZEROS = -9,
  OSQ_LEAVES = -10,
  OSQ_INSIDE_LEAF = -11,
  OSQ_STARTS = -12,
  OSQ_LEAF_COUNT = -13,
  OSQ_INDEX = -14,
  OSQ_DISTANCE = -15,
  OSQ_POSITION = -16,
  OSQ_ORDER = -17,
  OSQ_GROUP = -18,
  OSQ_SCALE_CODE = -19,
  OSQ_SCALE_VALUE = -20,
  OSQ_VALUE = -21,
  OSQ_COUNTS = -22,
  OSQ_CODE = -23,
  OSQ_PLANE_UNUSED = -24,
  OSQ_LEVEL_UNUSED = -25,
  OSQ_NAME = -26,
  OSQ_INPUT = -27,
  OSQ_ATTRIBUTE = -28,
  OSQ_SHAPE = -29,
  OSQ_CODEBOOK = -30,
  OSQ_TOTAL = -31,
  OSQ_ENTRIES = -32,
  OSQ_GROUPS = -33,
  OSQ_PERM = -34,
  OSQ_SCALE = -35,
  OSQ_FILL = -36,
  OSQ_DELTA_SHORT = -37,
  OSQ_DELTA_LONG = -38,
};

// One clear wording for a status; never null.
OSQ_API const char* osq_error(int status);

// The instruction set in use: "portable", "avx2" or "avx512". ONNXSQUEEZE_ISA caps it.
OSQ_API const char* osq_isa(void);

// --- Packed streams (FORMAT 3.1), k = 1 ... 8 ---

// Writes the planes of `count` values below 2^k, one after another: k * ceil(count / 8) bytes, no more, no
// less.
OSQ_API int osq_pack(const uint8_t* values, size_t count, int k, uint8_t* payload, size_t payload_bytes);

OSQ_API int osq_unpack(const uint8_t* payload, size_t payload_bytes, const int64_t* sizes, size_t segments,
                       int k, size_t count, uint8_t* values);

// --- Huffman streams (FORMAT 3.2) ---

// Cuts `count` values into 1 ... 256 parts, each for a thread of its own: counts[256 * p + v] = how often
// byte v occurs in part p.
OSQ_API int osq_count_bytes(const uint8_t* values, size_t count, size_t parts, uint64_t* counts);

// Bytes of each level for leaves with these counts (see osq_count_bytes; every leaf must occur) and codes of
// lengths[j] bits, non-decreasing; writes sizes[0 ... lengths[leaves - 1] - 1]. The code must be complete,
// with at most 12 bits a leaf.
OSQ_API int osq_huffman_sizes(const uint64_t* counts, size_t parts, const uint8_t* lengths, size_t leaves,
                              int64_t* sizes);

// Codes `count` leaf numbers, each part in a thread of its own; the result does not depend on the parts.
// `payload_bytes` must be the sum of the sizes from osq_huffman_sizes; zeros and ends receive one entry a
// level, starts `leaves` - 1. Refuses values that `counts` does not describe.
OSQ_API int osq_huffman_encode(const uint8_t* values, size_t count, const uint64_t* counts, size_t parts,
                               const uint8_t* lengths, size_t leaves, uint8_t* payload, size_t payload_bytes,
                               int64_t* zeros, int64_t* ends, int64_t* starts);

// A coded stream: the payload and the attributes of the node that owns it.
typedef struct {
  const uint8_t* payload;
  size_t payload_bytes;
  const int64_t* sizes;  // the levels, then the planes of the low bits
  size_t segments;
  const int64_t* zeros;   // one entry a level
  const int64_t* leaves;  // one entry a level
  size_t levels;
  const int64_t* starts;
  size_t starts_count;
  int low;  // raw low bits, 0 ... 7
} osq_huffman;

// Decodes `count` integers, leaf number * 2^low + low bits.
OSQ_API int osq_huffman_decode(const osq_huffman* stream, size_t count, int threads, uint8_t* values);

// --- From indices to weights (FORMAT 4) ---

// A factor per channel: element (o, c, i) of an outer x channels x inner weight is multiplied by
// table[codes[c]].
typedef struct {
  const float* table;
  size_t entries;
  const uint8_t* codes;
  size_t outer, channels, inner;
} osq_scale;

// Element types, numbered as in ONNX; outputs of the functions here are floats.
enum {
  OSQ_FLOAT = 1,
  OSQ_UINT8 = 2,
  OSQ_UINT16 = 4,
  OSQ_FLOAT16 = 10,
  OSQ_DOUBLE = 11,
  OSQ_UINT32 = 12,
  OSQ_UINT64 = 13
};

// out[i] = codebook[indices[i]], scaled (scale may be null) and converted to `type`.
OSQ_API int osq_lookup(const uint8_t* indices, size_t count, const float* codebook, size_t entries,
                       const osq_scale* scale, int type, void* out);

// out[i] = values[i], scaled (scale may be null) and converted to `type`.
OSQ_API int osq_rescale(const float* values, size_t count, const osq_scale* scale, int type, void* out);

// Zeroes `out` (total elements of 2, 4 or 8 bytes), then puts the i-th value where the distances lead
// (FORMAT 4.3).
OSQ_API int osq_scatter_gaps(const uint8_t* distances, const void* values, size_t entries, size_t item_size,
                             size_t total, void* out);

// Zeroes `out` (rows x size elements), then puts `kept` values into each row at their positions (FORMAT 4.4).
OSQ_API int osq_scatter_nm(const uint8_t* positions, const void* values, size_t rows, size_t size,
                           size_t kept, size_t item_size, void* out);

// --- Whole weights: the nodes of FORMAT 2 ---

typedef struct {
  const char* name;
  const int64_t* values;
  size_t count;
} osq_attribute;

// A tensor of one dimension; `type` as ONNX numbers them (2: uint8).
typedef struct {
  const void* data;
  size_t count;
  int type;
} osq_vector;

typedef struct {
  const char* op_type;
  const osq_attribute* attributes;
  size_t attribute_count;
  const osq_vector* inputs;  // in the order of FORMAT 2
  size_t input_count;
} osq_node;

// Checks all of a node but its payloads; writes the type of its weight, and the number of elements.
OSQ_API int osq_open_node(const osq_node* node, int* type, size_t* total);

// Decodes the weight of a node into `total` elements of `type`, as osq_open_node tells them.
OSQ_API int osq_decode_node(const osq_node* node, int threads, int type, size_t total, void* out);

// Which kernel would run the weight of a node packed: writes its name, "" where none would. `op_type`: of
// what it feeds; `rows`: of that node's other input, of Conv the positions of an output, -1 where not known;
// `kernel` and `profile`: as the session's options.
OSQ_API int osq_choose_kernel(const osq_node* node, const char* op_type, int64_t rows, int64_t groups,
                              const char* kernel, const char* profile, const char** found);

// Gives memory that this process has freed back to the system, where the C library keeps it otherwise.
OSQ_API int osq_trim_memory(void);

// --- For finding codebooks ---

// indices[i] = number of boundaries b with b <= values[i]; at most 255 boundaries, sorted; nothing is NaN.
OSQ_API int osq_assign(const float* values, size_t count, const float* boundaries, size_t boundary_count,
                       int threads, uint8_t* indices);

// Counts and sums of the values in `bins` equal bins over [low, high]; values outside fall into the outermost
// bins.
OSQ_API int osq_histogram(const float* values, size_t count, double low, double high, size_t bins,
                          int threads, uint64_t* counts, double* sums);

// Weights to be put on a grid, a column of outputs for each input.
typedef struct {
  size_t groups, inputs, outputs;  // of every array below that is not said to be another: in this order
  size_t first, last;              // the inputs to work off: from the first up to, without, the last
  const float* scales;             // what levels are multiplied with; null for 1
  const float* prices;             // of a bit, in squared steps: [groups, inputs, price_width]
  size_t price_width;              // 1 or outputs
  const float* levels;             // [count]: step times its place
  const float* bits;               // [count]: what an entropy coder takes for each
  const float* places;             // [count]: whole numbers, rising; some may be left out
  size_t count, zero;              // `zero`: the level whose place is 0
  const int32_t* nearest;          // [span]: the level nearest to each whole number from places[0] on
  size_t span;
  float step;
} osq_rounding;

// Each weight, over its scale, becomes the level that costs least in squared steps and bits; the error, over
// upper's diagonal, is carried to the inputs that follow: weights[k] -= upper[j, k] * errors[j]. `upper`:
// [groups, inputs, inputs]; null where nothing is carried, and `errors` may be null then.
OSQ_API int osq_carry(const osq_rounding* rounding, float* weights, const float* upper, float* errors,
                      uint8_t* found);

// Each weight in turn becomes the level that costs least given all others. `now`: what weights are;
// `gradients`: moments times (now - what was wanted), kept right for these inputs; `moved`: how far each
// weight went; `moments`: [groups, inputs, inputs].
OSQ_API int osq_descend(const osq_rounding* rounding, float* now, const float* moments, float* gradients,
                        float* moved, uint8_t* found);

typedef struct {
  float min, max, abs_max;  // over the values that are not NaN; 0 where there are none
  int32_t finite;           // 1 where no value is NaN or infinite
  uint64_t zeros;           // values equal to zero, of either sign
} osq_stats;

OSQ_API int osq_get_stats(const float* values, size_t count, osq_stats* stats);

// --- Updates (ota/UPDATE.md) ---

// Codes arrays, one after another, given older ones of the same lengths; learns on the way.
typedef struct osq_delta osq_delta;

// One that writes; free it with osq_delta_free.
OSQ_API int osq_delta_encoder(osq_delta** delta);

// One that reads what another has written; the bytes must outlive it.
OSQ_API int osq_delta_decoder(const uint8_t* coded, size_t coded_bytes, const uint8_t* plain,
                              size_t plain_bytes, osq_delta** delta);

// Writes (or reads, into `values`) the next array: `count` elements of a type as ONNX numbers them, in rows
// of `width`.
OSQ_API int osq_delta_code(osq_delta* delta, void* values, const void* old, size_t count, size_t width,
                           int type);

// No arrays follow. One that writes tells how many bytes it has made, one that reads refuses bytes that are
// left.
OSQ_API int osq_delta_end(osq_delta* delta, size_t* coded_bytes, size_t* plain_bytes);

// Copies what was written.
OSQ_API int osq_delta_take(const osq_delta* delta, uint8_t* coded, uint8_t* plain);

// Null is fine.
OSQ_API int osq_delta_free(osq_delta* delta);

// New bytes as a copy of old ones, though not all of them equal, and bytes that follow it.
typedef struct {
  uint64_t from;   // where the copied bytes begin
  uint64_t bytes;  // how many are copied
  uint64_t extra;  // how many follow that are like no old ones
} osq_copy;

// Old bytes (below 2^31, and they must outlive it), ready to be searched; free it with osq_old_free.
typedef struct osq_old osq_old;
OSQ_API int osq_old_make(const uint8_t* bytes, size_t count, osq_old** old);

// Cuts `count` new bytes into copies; `room`, for so many copies, is at least count / 8 + 2.
OSQ_API int osq_old_copies(const osq_old* old, const uint8_t* bytes, size_t count, osq_copy* copies,
                           size_t room, size_t* made);

// Null is fine.
OSQ_API int osq_old_free(osq_old* old);

#ifdef __cplusplus
}
#endif

#endif  // ONNXSQUEEZE_CODEC_H_
