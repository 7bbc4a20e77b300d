#include "crescendo/text/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>

#include "crescendo/core/check.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

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
      start = ends[1] < text.size() ? ends[1] + utf8_step(text.substr(ends[1])).length : text.size();
      continue;
    }
    if (ends[0] > done) on_piece(text.substr(done, ends[0] - done));
    on_piece(text.substr(ends[0], ends[1] - ends[0]));
    start = done = ends[1];
  }
  if (done < text.size()) on_piece(text.substr(done));
}

}  // namespace crescendo
