// crescendo data: the program's own data set as files.
#pragma once

#include <CLI/CLI.hpp>

namespace crescendo {

void add_data_command(CLI::App& app);

}  // namespace crescendo
