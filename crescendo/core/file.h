// Files: whole reads, memory maps, and writes that happen wholly or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace crescendo {

std::string read_file(const std::filesystem::path& path);

// Writes through a temporary file beside `path`: write, fsync, rename, fsync of the folder. On any failure (a full
// disk, no permission, an exception from `write`) the temporary file is removed and what stood at `path` is untouched.
// A program that is killed leaves its temporary file, NAME.partial-PID-XXXXXX; the next one that writes to that folder
// removes it. The same holds for the temporary folder of write_folder_atomically().
void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// Without that: for the files in a folder that appears whole or not at all.
void write_file_plainly(const std::filesystem::path& path, std::string_view content);

// Lets `fill` make the content of a folder beside `path`, which gets its name only when all is there; on any failure it
// is removed. `path` must not exist, or be an empty folder.
void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill);

// Creates a folder and its parents; the error names the path.
void make_directories(const std::filesystem::path& path);

// A file mapped for reading. Tensors that view it keep it alive through the shared pointer.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

// Tells the system that these bytes of a MappedFile are not needed now, so that they stop counting as this program's
// memory. What was written to them is lost; reading them again reads the file.
void release_pages(std::span<const std::byte> mapped);

}  // namespace crescendo
