#!/bin/sh
# Checks that what the documents name exists: sh tests/docs_test.sh
#
# - Every relative link of a document, and every #anchor of it.
# - Every path in backticks in README, CONTRIBUTING and docs/*.md: in the checkout or below crescendo/, with its extension
#   or without. Records in docs/lab name what was there on their day, so only their links are checked.
# - Every name that docs/paper_map.md sets beside a path: it occurs in that file.
# - Every docs/NAME.md that a source file names.
set -eu
cd "$(dirname "$0")/.."

{
  find . \( -path ./.git -o -path './build*' -o -path ./out -o -path ./runs \) -prune -o -print | sed 's|^\./|exists |'
  grep -rnoE 'docs/[A-Za-z0-9_/-]+\.md' CMakeLists.txt bench cmake configs crescendo fuzz script tests/*.cc tests/*.h |
    sed 's/^/mention /'
  for document in *.md docs/*.md docs/lab/*.md models/*/README.md; do echo "document $document"; done
} | LC_ALL=C awk '
function complain(at, what) { errors[++failed] = at ": " what }

# "docs/lab" and "../x.md" -> "docs/x.md"
function resolve(folder, target,    parts, n, i, out) {
  n = split(folder "/" target, parts, "/")
  out = ""
  for (i = 1; i <= n; ++i) {
    if (parts[i] == "" || parts[i] == ".") continue
    if (parts[i] == "..") sub(/\/?[^\/]*$/, "", out)
    else out = out (out == "" ? "" : "/") parts[i]
  }
  return out
}

# The files that a path of the documents means: with or without crescendo/ and the extension. "" where there are none.
function files_of(path,    roots, ends, r, e, candidate, found) {
  sub(/\/$/, "", path)
  split(" |crescendo/", roots, "|")
  split(" |.h|.cc|.cu", ends, "|")
  found = ""
  for (r = 1; r <= 2; ++r)
    for (e = 1; e <= 4; ++e) {
      candidate = roots[r] path ends[e]
      gsub(/ /, "", candidate)
      if (candidate in exists) found = found " " candidate
    }
  return found
}

function text_of(file,    line, text) {
  if (file in texts || file !~ /\.[a-z]+$/) return texts[file]  # a folder has none
  text = ""
  while ((getline line < file) > 0) text = text line "\n"
  close(file)
  texts[file] = text
  return text
}

# As GitHub makes it of a heading.
function anchor_of(heading) {
  sub(/^#+ +/, "", heading)
  heading = tolower(heading)
  gsub(/[^a-z0-9_ -]/, "", heading)
  gsub(/ /, "-", heading)
  return heading
}

function check_links(file, at, text,    folder, target, anchor) {
  folder = file
  if (!sub(/\/[^\/]*$/, "", folder)) folder = ""
  while (match(text, /\]\([^) ]*/)) {
    target = substr(text, RSTART + 2, RLENGTH - 2)
    text = substr(text, RSTART + RLENGTH)
    if (target ~ /^[a-z]+:/) continue
    ++links
    anchor = ""
    if (match(target, /#/)) {
      anchor = substr(target, RSTART + 1)
      target = substr(target, 1, RSTART - 1)
    }
    target = target == "" ? file : resolve(folder, target)
    if (!(target in exists)) complain(at, "links to " target ", which does not exist")
    else if (anchor != "" && !((target "#" anchor) in anchors))
      complain(at, "links to " target "#" anchor ", which has no such heading")
  }
}

# The names and paths of one sentence or cell.
function check_group(file, at,    p, n, parts, count, i, found) {
  if (file != "docs/paper_map.md" || group_paths == 0) group_names = 0
  for (n = 1; n <= group_names; ++n) {
    count = split(names[n], parts, "::")
    for (i = 1; i <= count; ++i) {
      sub(/\(\)$/, "", parts[i])
      found = 0
      for (p = 1; p <= group_paths; ++p)
        if (text_of(paths[p]) ~ ("(^|[^A-Za-z0-9_])" parts[i] "([^A-Za-z0-9_]|$)")) found = 1
      if (!found) complain(at, "names " names[n] ", which " paths[1] " does not have")
    }
    ++functions
  }
  group_names = group_paths = 0
}

function check_span(file, at, span,    words, count, w, word, found, each, i) {
  count = split(span, words, " ")
  for (w = 1; w <= count; ++w) {
    word = words[w]
    if (word ~ /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]*)+$/) {
      if (word ~ /^(build|out|photos|runs)\//) continue  # what a user makes
      if (word ~ /^[A-Z]+\// || word ~ /NAME/) continue     # what stands for a name
      if (word ~ /^\.\./) continue                          # beside the checkout
      ++checked_paths
      found = files_of(word)
      if (found == "") complain(at, "names " word ", which does not exist")
      i = split(found, each, " ")
      while (i > 0) paths[++group_paths] = each[i--]
    } else if (word ~ /^[A-Za-z0-9_]+\.(h|cc|cu|cmake|sh|py|md)$/ && word !~ /NAME/) {
      ++checked_paths
      if (!(word in base_names)) complain(at, "names " word ", which does not exist")
    }
  }
  if (span ~ /^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*(\(\))?$/) names[++group_names] = span
}

# A paragraph, or a row of a table. Spans of code alternate with text.
function check_text(file, at, text,    parts, count, i, plain) {
  count = split(text, parts, "`")
  plain = ""
  for (i = 1; i <= count; ++i) {
    if (i % 2 == 1) {
      plain = plain parts[i]
      if (parts[i] ~ /[;|]|\. /) check_group(file, at)
    } else if (file ~ /^(README|CONTRIBUTING)\.md$/ || file ~ /^docs\/[^\/]*$/) {
      check_span(file, at, parts[i])
    }
  }
  check_group(file, at)
  check_links(file, at, plain)
}

function read_document(file, what,    line, number, fence, text, at, slug) {
  number = fence = 0
  text = ""
  while ((getline line < file) > 0) {
    ++number
    if (line ~ /^```/) fence = !fence
    if (what == "anchors") {
      if (fence || line !~ /^#+ /) continue
      slug = anchor_of(line)
      while ((file "#" slug) in anchors) slug = slug "-1"
      anchors[file "#" slug]
      continue
    }
    if (text != "" && (fence || line ~ /^( *$|\||#)/)) {
      check_text(file, at, text)
      text = ""
    }
    if (fence || line ~ /^```/ || line ~ /^ *$/) continue
    if (text == "") at = file ":" number
    text = text (text == "" ? "" : " ") line
    if (line ~ /^\|/) {
      check_text(file, at, text)
      text = ""
    }
  }
  if (text != "") check_text(file, at, text)
  close(file)
}

$1 == "exists" {
  exists[$2]
  name = $2
  sub(/.*\//, "", name)
  base_names[name]
}
$1 == "document" { documents[++read] = $2 }
$1 == "mention" { mentions[++mentioned] = $2 }

END {
  for (d = 1; d <= read; ++d) read_document(documents[d], "anchors")
  for (d = 1; d <= read; ++d) read_document(documents[d], "text")
  for (m = 1; m <= mentioned; ++m) {
    n = split(mentions[m], parts, ":")
    if (!(parts[n] in exists)) complain(parts[1] ":" parts[2], "names " parts[n] ", which does not exist")
  }
  if (links < 40 || checked_paths < 80 || functions < 25)
    complain("docs", "only " links " links, " checked_paths " paths and " functions " functions found: wrong place?")
  for (e = 1; e <= failed; ++e) print errors[e]
  if (failed) exit 1
  print "docs: " links " links, " checked_paths " paths and " functions " functions exist"
}'
