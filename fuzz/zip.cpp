#include "gallop/formats/zip.h"

#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(zip) {
  const ZipArchive archive(bytes, "zip");
  for (const ZipEntry& entry : archive.entries()) {
    fuzz::use(entry.data);
    fuzz::allowing_errors([&] { archive.checked(entry); });
  }
}

}  // namespace gallop::formats
