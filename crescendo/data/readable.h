// Pictures that cannot be read are found before the work, all at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

// Whether a picture is known to be readable from earlier; only name and content of the identity count.
using KnownReadable = std::function<bool(const PictureIdentity&)>;

// The numbers below `count` for which `read`, called from several threads, throws nothing. Up to `skip_bad` may fail,
// which a warning names; more are an error that names them, and so is a rest of none.
std::vector<int64_t> readable_of(int64_t count, int64_t skip_bad, const std::function<void(int64_t)>& read);

// The set without the files that cannot be read: up to `skip_bad` of them are left out and named in warnings, classes
// keep their numbers. More are an error that names them, as is a class of which nothing is left. Reads every picture
// that `known` does not know.
std::unique_ptr<Dataset> without_unreadable(std::unique_ptr<Dataset> dataset, int64_t skip_bad,
                                            const KnownReadable& known = {});

}  // namespace crescendo
