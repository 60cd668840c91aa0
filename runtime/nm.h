// Products with N:M sparse weights, float32: of every 4, 8 or 16 neighbours in a row at most half are not
// zero. Positions stay packed, in 2, 3 or 4 bits, and pick inputs in registers.
#ifndef ONNXSQUEEZE_NM_H_
#define ONNXSQUEEZE_NM_H_

#include "panels.h"

namespace osq {

// A packed N:M matrix: rows in slices of 16, side by side, as NmBlock says.
struct NmRows {
  size_t rows = 0, columns = 0;
  int bits = 0;     // of a position: a group is 2^bits columns
  size_t kept = 0;  // slots of a group, a power of 2; those that are not used hold zero
  size_t steps = 0;
  Floats memory;  // slice by slice

  size_t slice() const { return steps * (1 + NmBlock::SlotsOf(bits)) * 16; }  // floats
  size_t step_columns() const { return (NmBlock::SlotsOf(bits) / kept) << bits; }
  size_t bytes() const { return Ceil(rows, 16) * slice() * sizeof(float); }
};

// Returns false where the matrix is not N:M, or has so many zeros more that other layouts are smaller.
bool PackNm(const DenseMatrix& matrix, NmRows* packed);

// y [batch, rows] = x [batch, columns] times the transposed matrix.
void NmLinear(const NmRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
              const Parallel& parallel);

}  // namespace osq

#endif  // ONNXSQUEEZE_NM_H_
