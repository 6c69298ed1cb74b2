// SPDX-License-Identifier: Apache-2.0
#include "saved_run.hpp"

#include <diloco/core/hash.hpp>

#include <bit>
#include <type_traits>

namespace gpt {

namespace {

// Calls visit(number) for each number that is not a list, in the order of the file.
template <class State, class Visit>
void for_each_number(State& s, Visit&& visit) {
  visit(s.settings), visit(s.read), visit(s.since), visit(s.seconds), visit(s.compute_seconds);
  visit(s.round_seconds), visit(s.sent_bytes), visit(s.loss_sum), visit(s.shown_loss);
}
template <class Point, class Visit>
void for_each_number_of_point(Point& p, Visit&& visit) {
  visit(p.step), visit(p.tokens), visit(p.bytes_per_worker), visit(p.seconds);
  visit(p.training_loss), visit(p.validation_loss);
}
constexpr std::size_t alone = 9, per_point = 6;  // numbers

}  // namespace

std::vector<double> saved_run::numbers() const {
  std::vector<double> all;
  auto const append = [&](auto x) { all.push_back(static_cast<double>(x)); };
  for_each_number(*this, append);
  for (point const& p : points) for_each_number_of_point(p, append);
  return all;
}

saved_run saved_run::of(std::vector<double> const& numbers) {
  if (numbers.size() < alone + per_point || (numbers.size() - alone) % per_point != 0)
    throw bad_input("--resume: the snapshot was not saved by this program");
  saved_run s;
  auto next = numbers.begin();
  auto const take = [&](auto& x) { x = static_cast<std::remove_reference_t<decltype(x)>>(*next++); };
  for_each_number(s, take);
  s.points.resize((numbers.size() - alone) / per_point);
  for (point& p : s.points) for_each_number_of_point(p, take);
  return s;
}

std::uint64_t digest_of_settings(options const& o, split const& data) {
  diloco::hash64 h;
  for (double x : {static_cast<double>(o.seed), static_cast<double>(o.batch), static_cast<double>(o.clip),
                   static_cast<double>(o.warm_up_steps), static_cast<double>(o.warm_up_lr),
                   static_cast<double>(o.evaluate_every), static_cast<double>(o.validation_bytes)})
    h.add(std::bit_cast<std::uint64_t>(x));
  auto const add = [&](chunk text) { h.add({reinterpret_cast<char const*>(text.data()), text.size()}); };
  for (chunk const& text : data.validation) add(text);
  for (auto const& shard : data.shards)
    for (chunk const& text : shard) add(text);
  return h.value() >> 11;
}

}  // namespace gpt
