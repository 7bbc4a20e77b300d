#include "crescendo/metrics/row_store.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/io/bytes.h"

namespace crescendo {

namespace fs = std::filesystem;

RowStore::RowStore(fs::path file, int64_t dim, int64_t kept) : file_(std::move(file)), dim_(dim), count_(kept) {
  check(dim > 0 && kept >= 0, "RowStore: ", kept, " rows of ", dim);
  if (kept > 0) {
    const auto bytes = static_cast<uintmax_t>(kept * dim * 4);
    std::error_code error;
    const auto size = fs::file_size(file_, error);
    check(!error && size >= bytes, file_.string(), ": holds ", error ? 0 : size, " bytes, ", kept, " rows of ", dim,
          " features are ", bytes, "; remove the folder to begin anew");
    fs::resize_file(file_, bytes, error);
    check(!error, file_.string(), ": cannot be written: ", error.message());
  }
  out_.open(file_, std::ios::binary | (kept > 0 ? std::ios::app : std::ios::trunc));
  check(out_.good(), file_.string(), ": cannot be written");
}

void RowStore::add(const Tensor& rows) {
  check(rows.dim() == 2 && rows.size(1) == dim_, file_.string(), ": rows must be (B, ", dim_, "), got ", rows.sizes());
  const Tensor dense = rows.detach().to(at::kCPU, at::kFloat).contiguous();
  out_.write(static_cast<const char*>(dense.data_ptr()), static_cast<std::streamsize>(dense.nbytes()));
  count_ += dense.size(0);
}

void RowStore::flush() {
  out_.flush();
  check(out_.good(), file_.string(), ": cannot be written; is the disk full?");
}

FeatureMatrix RowStore::finish(std::string name) {
  flush();
  check(count_ > 0, name, ": there are no rows");
  const std::array<int64_t, 2> shape = {count_, dim_};
  return FeatureMatrix(tensor_over(map_bytes(file_), shape, at::kFloat), std::move(name));
}

}  // namespace crescendo
