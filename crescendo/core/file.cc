#include "crescendo/core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
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

// What is being written is called NAME.partial-PID-XXXXXX until it is whole: a name that is not given by chance.
constexpr std::string_view kPartial = ".partial-";

bool is_partial_name(std::string_view name) {
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const auto letter = [](unsigned char c) { return std::isalnum(c) != 0; };
  const size_t mark = name.rfind(kPartial);
  if (mark == std::string_view::npos) return false;
  const std::string_view id = name.substr(mark + kPartial.size());
  const size_t dash = id.find('-');
  if (dash == 0 || dash == std::string_view::npos || id.size() - dash != 7) return false;
  return std::all_of(id.begin(), id.begin() + static_cast<std::ptrdiff_t>(dash), digit) &&
         std::all_of(id.end() - 6, id.end(), letter);
}

// Whether an open file or folder still has that name.
bool is_at(int descriptor, const std::string& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(descriptor, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

// Removes what writers that died left in a folder. A living one holds a lock, which ends with it however it ends; what
// cannot be locked stays.
void remove_abandoned(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (!is_partial_name(it->path().filename().string())) continue;
    constexpr int kHow = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int descriptor = ::open(path.c_str(), O_RDWR | kHow);
    if (descriptor < 0 && errno == EISDIR) descriptor = ::open(path.c_str(), O_RDONLY | kHow);
    if (descriptor < 0) continue;
    std::error_code ignored;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0 && is_at(descriptor, path)) fs::remove_all(path, ignored);
    ::close(descriptor);
  }
}

// The same, once for each folder that this program writes to: a folder may hold many files.
void remove_abandoned_once(const std::string& folder) {
  static std::mutex mutex;
  static std::set<std::string> done;
  std::error_code ignored;
  const std::string place = std::filesystem::absolute(folder, ignored).lexically_normal().string();
  const std::lock_guard lock(mutex);
  if (done.insert(place).second) remove_abandoned(folder);
}

// A file or folder that is being made beside `target` and takes its name in keep(); without that it is removed again.
// Locked as long as it is open.
class Partial {
 public:
  enum class Kind { kFile, kFolder };
  Partial(const std::filesystem::path& target, Kind kind) : target_(target.string()) {
    remove_abandoned_once(parent_of(target));
    const std::string suffix = concat(kPartial, ::getpid(), "-XXXXXX");
    const std::string name = target.filename().string().substr(0, NAME_MAX - suffix.size());
    do {
      close();
      path_ = (target.parent_path() / (name + suffix)).string();
      if (kind == Kind::kFile)
        descriptor_ = ::mkostemp(path_.data(), O_CLOEXEC);
      else if (::mkdtemp(path_.data()))
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      check(descriptor_ >= 0, "cannot write ", target_, ": ", std::strerror(errno));
      // Before the lock is there another program may take it for abandoned.
    } while ((::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
             ::access(path_.c_str(), F_OK) != 0);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(descriptor_, (kind == Kind::kFile ? 0666 : 0777) & ~mask);  // it was made private
  }
  ~Partial() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove_all(path_, ignored);
    close();
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }
  void keep() {
    check(::rename(path_.c_str(), target_.c_str()) == 0, "cannot write ", target_, ": ", std::strerror(errno));
    kept_ = true;
  }

 private:
  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
  std::string target_, path_;
  int descriptor_ = -1;
  bool kept_ = false;
};

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
  Partial partial(path, Partial::Kind::kFile);
  DescriptorBuffer buffer(partial.descriptor());
  std::ostream out(&buffer);
  write(out);
  out.flush();
  check(out.good(), "cannot write ", path.string(), ": ",
        buffer.error() ? std::strerror(buffer.error()) : "the stream failed");
  check(::fsync(partial.descriptor()) == 0, "cannot write ", path.string(), ": ", std::strerror(errno));
  partial.keep();
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

void write_file_plainly(const std::filesystem::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  check(out.good(), path.string(), ": cannot be written; is the disk full?");
}

void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill) {
  namespace fs = std::filesystem;
  const fs::path target = path.has_filename() ? path : path.parent_path();  // "out/" is out
  check(!fs::exists(target) || (fs::is_directory(target) && fs::is_empty(target)), "cannot write the folder ",
        target.string(), ": it exists already; remove it or choose another name");
  if (target.has_parent_path()) make_directories(target.parent_path());
  Partial partial(target, Partial::Kind::kFolder);
  fill(partial.path());
  partial.keep();
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
