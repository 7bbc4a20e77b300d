#include "crescendo/core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <streambuf>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// A stream buffer over a file descriptor, so that write errors (a full disk) are seen and fsync is possible.
class DescriptorBuffer : public std::streambuf {
 public:
  explicit DescriptorBuffer(int descriptor) : descriptor_(descriptor), buffer_(1 << 16) {
    setp(buffer_.data(), buffer_.data() + buffer_.size());
  }
  int error() const { return error_; }

 protected:
  int overflow(int c) override {
    if (sync() != 0) return traits_type::eof();
    if (c != traits_type::eof()) sputc(static_cast<char>(c));
    return traits_type::not_eof(c);
  }
  std::streamsize xsputn(const char* data, std::streamsize size) override {
    if (size <= epptr() - pptr()) return std::streambuf::xsputn(data, size);
    return sync() == 0 && write_all(data, static_cast<size_t>(size)) ? size : 0;
  }
  int sync() override {
    const bool ok = write_all(pbase(), static_cast<size_t>(pptr() - pbase()));
    setp(buffer_.data(), buffer_.data() + buffer_.size());
    return ok ? 0 : -1;
  }
  std::streampos seekoff(std::streamoff offset, std::ios_base::seekdir direction, std::ios_base::openmode) override {
    if (sync() != 0) return std::streampos(-1);
    const int whence = direction == std::ios_base::beg   ? SEEK_SET
                       : direction == std::ios_base::cur ? SEEK_CUR
                                                         : SEEK_END;
    return std::streampos(::lseek(descriptor_, offset, whence));
  }
  std::streampos seekpos(std::streampos position, std::ios_base::openmode mode) override {
    return seekoff(position, std::ios_base::beg, mode);
  }

 private:
  bool write_all(const char* data, size_t size) {
    while (size > 0) {
      const ssize_t n = ::write(descriptor_, data, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        error_ = errno;
        return false;
      }
      data += n;
      size -= static_cast<size_t>(n);
    }
    return true;
  }

  int descriptor_;
  int error_ = 0;
  std::vector<char> buffer_;
};

std::string parent_of(const std::filesystem::path& path) {
  const auto parent = path.parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  check(in.good() && !std::filesystem::is_directory(path), "cannot read ", path.string(), ": ",
        std::filesystem::is_directory(path) ? "it is a folder" : std::strerror(errno));
  std::ostringstream out;
  out << in.rdbuf();
  check(!in.bad(), "cannot read ", path.string());
  return out.str();
}

void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  check(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), "cannot write ", path.string(),
        ": it is ",
        std::filesystem::is_directory(status) ? "a folder" : "no regular file, and would be replaced by one");
  std::string temporary = path.string() + ".XXXXXX";
  const int descriptor = ::mkstemp(temporary.data());
  check(descriptor >= 0, "cannot write ", path.string(), ": ", std::strerror(errno));
  const auto abandon = [&](const std::string& why) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    fail("cannot write ", path.string(), ": ", why);
  };
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor, 0666 & ~mask);  // mkstemp makes files private
  DescriptorBuffer buffer(descriptor);
  std::ostream out(&buffer);
  try {
    write(out);
  } catch (...) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    throw;
  }
  out.flush();
  if (!out.good()) abandon(buffer.error() ? std::strerror(buffer.error()) : "the stream failed");
  if (::fsync(descriptor) != 0) abandon(std::strerror(errno));
  ::close(descriptor);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    ::unlink(temporary.c_str());
    fail("cannot write ", path.string(), ": ", why);
  }
  // The rename itself is durable only once the folder is on disk.
  if (const int folder = ::open(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY); folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(
      path, [&](std::ostream& out) { out.write(content.data(), static_cast<std::streamsize>(content.size())); });
}

void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill) {
  namespace fs = std::filesystem;
  const fs::path target = path.has_filename() ? path : path.parent_path();  // "out/" is out
  check(!fs::exists(target) || (fs::is_directory(target) && fs::is_empty(target)), "cannot write the folder ",
        target.string(), ": it exists already; remove it or choose another name");
  if (target.has_parent_path()) make_directories(target.parent_path());
  std::string temporary = target.string() + ".XXXXXX";
  check(::mkdtemp(temporary.data()) != nullptr, "cannot create folder ", target.string(), ": ", std::strerror(errno));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(temporary.c_str(), 0777 & ~mask);  // mkdtemp makes folders private
  try {
    fill(temporary);
    check(::rename(temporary.c_str(), target.c_str()) == 0, "cannot write the folder ", target.string(), ": ",
          std::strerror(errno));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void make_directories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  check(!error && std::filesystem::is_directory(path), "cannot create folder ", path.string(), ": ",
        error ? error.message() : "a file of that name stands there");
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor >= 0, "cannot read ", path.string(), ": ", std::strerror(errno));
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    fail("cannot read ", path.string(), ": not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  // A private, writable map: tensors over it may be written by mistake without harm to the file.
  void* data = size == 0 ? nullptr : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  const int error = errno;
  ::close(descriptor);
  check(size == 0 || data != MAP_FAILED, "cannot map ", path.string(), ": ", std::strerror(error));
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void release_pages(std::span<const std::byte> mapped) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(mapped.data());
  // Pages at the ends may hold bytes of others.
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + mapped.size()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace crescendo
