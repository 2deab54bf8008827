#pragma once

#include <memory>
#include <utility>

#include "gallop/blocks/depth/block_routing.h"
#include "tests/support/weights.h"

namespace gallop::testing {

/// The plain stream, on its own.
inline const blocks::ResidualStream& plain_stream() {
  static nn::Module root;
  static const std::unique_ptr<blocks::ResidualStream> stream =
      make<blocks::ResidualStream>("kind = \"plain\"", {.parent = &root});
  return *stream;
}

/// A block on the plain stream.
inline blocks::BlockBody plain_body(decltype(blocks::BlockBody::run) run) {
  return {.stream = plain_stream(), .run = std::move(run)};
}

}  // namespace gallop::testing
