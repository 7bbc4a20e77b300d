#include "crescendo/text/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

struct Utf8Step {
  size_t length;  // bytes taken
  bool valid;
};

// The character at the front of `s` (not empty), by Unicode 15, table 3-7: the second byte has a range of its own after
// E0, ED, F0 and F4, so that overlong forms, surrogates and values above 10FFFF are refused.
Utf8Step step_utf8(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (s.size() < 2 || byte(1) < low || byte(1) > high) return {1, false};
  for (size_t i = 2; i < length; ++i)
    if (i >= s.size() || (byte(i) & 0xC0) != 0x80) return {i, false};
  return {length, true};
}

// PCRE2's \s adds U+180E to Unicode's White_Space, which tokenizers mean by \s. Inside and outside of [...].
std::string with_unicode_space(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    out += pattern[i];
    if (pattern[i] != '\\' || i + 1 == pattern.size()) continue;
    const char escaped = pattern[++i];
    if (escaped == 's')
      out += "p{White_Space}";
    else if (escaped == 'S')
      out += "P{White_Space}";
    else
      out += escaped;
  }
  return out;
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  return pcre2_get_error_message(code, text, sizeof(text)) < 0 ? concat("error ", code)
                                                               : std::string(reinterpret_cast<const char*>(text));
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = step_utf8(bytes.substr(i));
    if (!step.valid) return false;
    i += step.length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = step_utf8(bytes);
    out += step.valid ? bytes.substr(0, step.length) : std::string_view("\xEF\xBF\xBD");
    bytes.remove_prefix(step.length);
  }
  return out;
}

bool is_plainly_nfc(std::string_view text) {
  // Below U+0300 (lead byte CC) nothing combines and nothing decomposes under NFC.
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0xCC) return false;
  return true;
}

std::string to_nfc(std::string_view text) {
  if (is_plainly_nfc(text)) return std::string(text);
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  check(size >= 0, "cannot normalize text: ", utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(out), static_cast<size_t>(size)};
}

RegexSplitter::RegexSplitter(std::string_view pattern, bool literal, std::string_view where) {
  const std::string translated = literal ? std::string(pattern) : with_unicode_space(pattern);
  const uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE);
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options,
                                       &code, &offset, nullptr);
  check(compiled != nullptr, where, ": cannot use the pattern '", pattern, "': ", pcre2_message(code));
  code_ = std::shared_ptr<pcre2_real_code_8>(compiled, &pcre2_code_free);
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
}

void RegexSplitter::split(std::string_view text, const std::function<void(std::string_view)>& on_piece) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(pcre2_match_data_create(1, nullptr),
                                                                                  &pcre2_match_data_free);
  check(match != nullptr, "cannot split text: out of memory");
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
  size_t done = 0;  // text[0, done) has been handed on
  for (size_t start = 0; start < text.size();) {
    // The caller vouches for UTF-8: a check at each match would make long texts quadratic.
    int found = pcre2_match(code_.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
      found = pcre2_match(code_.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match.get(),
                          nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    check(found >= 0, "cannot split text: ", pcre2_message(found));
    if (ends[1] == ends[0]) {  // an empty match cuts nothing; go on behind the next character
      start = ends[1] < text.size() ? ends[1] + step_utf8(text.substr(ends[1])).length : text.size();
      continue;
    }
    if (ends[0] > done) on_piece(text.substr(done, ends[0] - done));
    on_piece(text.substr(ends[0], ends[1] - ends[0]));
    start = done = ends[1];
  }
  if (done < text.size()) on_piece(text.substr(done));
}

}  // namespace crescendo
