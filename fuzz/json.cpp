#include "gallop/base/json.h"

#include <stdexcept>

#include "fuzz/target.h"

namespace gallop {

GALLOP_FUZZ_TARGET(json) {
  const Json json =
      Json::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "json");
  const std::string text = json.dump();
  for (const int indent : {-1, 2})
    if (Json::parse(json.dump(indent)).dump() != text)
      throw std::logic_error("a JSON text changes when read again");
}

}  // namespace gallop
