// SPDX-License-Identifier: Apache-2.0
// The message of a size that does not fit.
#include "base/checked.h"

#include <stdexcept>
#include <string>

namespace lamella::base {

void throw_overflow(const char* operation, std::size_t a, std::size_t b) {
  throw std::overflow_error("size does not fit: " + std::to_string(a) + " " + operation + " " +
                            std::to_string(b));
}

}  // namespace lamella::base
