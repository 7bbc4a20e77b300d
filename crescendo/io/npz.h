// NumPy's .npy (one array: a line of text that says dtype and shape, then the data) and .npz (a ZIP of .npy files).
//
// Read: versions 1 to 3; f2 f4 f8 i1 i2 i4 i8 u1 bool; C and Fortran order; big-endian data is converted. Stored
// little-endian arrays in C order are views of the mapped file. Anything else (text, objects, u2 to u8, complex) is an
// error that names the dtype. Written: version 1, little-endian, C order, stored, as np.savez does.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/io/bytes.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/io/zip.h"

namespace crescendo {

struct NpyHeader {
  at::ScalarType dtype = at::kFloat;
  bool swap = false;           // the data is big-endian
  bool fortran_order = false;  // the first index varies fastest
  std::vector<int64_t> shape;
  size_t data_begin = 0;
};

NpyHeader parse_npy_header(const Bytes& bytes);
Tensor parse_npy(const Bytes& bytes);
Tensor read_npy(const std::filesystem::path& path);
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

// An .npz whose arrays are looked at one by one: a header costs nothing, an array is read when it is asked for.
class NpzReader {
 public:
  explicit NpzReader(ZipReader archive);
  static NpzReader open(const std::filesystem::path& path) { return NpzReader(ZipReader::open(path)); }

  std::vector<std::string> names() const;  // without ".npy"
  bool contains(const std::string& name) const;
  NpyHeader header(const std::string& name) const;
  bool stored(const std::string& name) const { return !member(name).deflated; }  // not packed, so read() need not copy
  // `verify`: also check the ZIP checksum, which reads every byte of a stored array.
  Tensor read(const std::string& name, bool verify = true) const;

 private:
  const ZipMember& member(const std::string& name) const;
  ZipReader archive_;
};

// All arrays of a file; an array of a type that has no tensor is an error.
TensorMap read_npz(const std::filesystem::path& path);
void write_npz(const std::filesystem::path& path, const TensorMap& tensors);

// Writes an .npz piece by piece to a stream of write_file_atomically(): for arrays that do not fit in memory.
class NpzWriter {
 public:
  explicit NpzWriter(std::ostream& out, Zip64 zip64 = Zip64::kWhenNeeded) : zip_(out, {1, zip64}) {}

  void add(const std::string& name, const Tensor& tensor);
  // An array of the given shape, whose rows (or any pieces, in C order) follow by append().
  void begin(const std::string& name, at::ScalarType dtype, const std::vector<int64_t>& shape);
  void append(const Tensor& piece);
  void end() { zip_.end(); }
  void finish() { zip_.finish(); }

 private:
  ZipWriter zip_;
  at::ScalarType dtype_ = at::kFloat;
};

}  // namespace crescendo
