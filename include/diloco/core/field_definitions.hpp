// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE std::string range_text(range r) {
  if (r.high >= unbounded)
    return say({r.low_open ? "must be a number above " : "must be a number not below ", r.low});
  return say({"must be in ", r.low_open ? "(" : "[", r.low, ", ", r.high, r.high_open ? ")" : "]"});
}

DILOCO_COLD DILOCO_CORE std::string field_error(std::string_view role, listed_policy const& policy) {
  for (listed_field const& f : policy.fields) {
    if (!f.allowed.holds(f.value))
      return say(
          {"diloco: ", role, " ", policy.name, ": ", f.name, " = ", f.text, " ", range_text(f.allowed)});
  }
  return policy.validation_error.empty() ? std::string{}
                                 : say({"diloco: ", role, " ", policy.name, ": ", policy.validation_error});
}

DILOCO_COLD DILOCO_CORE std::string field_text(listed_policy const& policy) {
  std::string text;
  for (listed_field const& f : policy.fields) text += say({text.empty() ? "" : " ", f.name, "=", f.text});
  return text;
}

DILOCO_COLD DILOCO_CORE std::uint64_t fingerprint(listed_policy const& policy) {
  hash64 h;
  h.add(policy.name);
  for (listed_field const& f : policy.fields) {
    h.add(f.name);
    h.add(f.bits);
  }
  if (!policy.bytes.empty())
    h.add(std::string_view(reinterpret_cast<char const*>(policy.bytes.data()), policy.bytes.size()));
  return h.value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
