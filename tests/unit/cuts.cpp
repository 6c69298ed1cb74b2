// SPDX-License-Identifier: Apache-2.0
// How a model is cut into fragments: in order, by layers in strides, by name.
#include "support/folder.hpp"
#include "support/toy.hpp"

#include <diloco/snapshot.hpp>

#include <doctest/doctest.h>

using namespace diloco;

namespace {

std::vector<std::string> const names{"wte", "h.0.w", "h.0.b", "h.1.w", "h.1.b", "h.2.w", "h.3.w", "ln_f"};
std::vector<std::size_t> const sizes{300, 256, 7, 256, 7, 600, 900, 64};

/// The tensors of a model under these names, in this order.
struct named_model {
  toy::model m{sizes};
  std::vector<std::size_t> order{0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<std::vector<float>> now{std::vector<std::vector<float>>(sizes.size())};

  named_model() {
    for (std::size_t i = 0; i < names.size(); ++i) m.parameters()[i].name = names[i];
  }
  [[nodiscard]] std::vector<tensor> parameters() {
    std::vector<tensor> all;
    for (std::size_t i : order) all.push_back(m.parameters()[i]);
    return all;
  }
  [[nodiscard]] std::vector<std::vector<float>> const& gradients(int rank, long step) {
    auto const& g = m.gradients(rank, step);
    for (std::size_t i = 0; i < order.size(); ++i) now[i] = g[order[i]];
    return now;
  }
};

/// The fragments of the tensors, one digit each.
std::string cut_of(std::vector<std::string> const& all, std::size_t parts, fragment_cut cut) {
  toy::model m(std::vector<std::size_t>(all.size(), 5000));
  for (std::size_t i = 0; i < all.size(); ++i) m.parameters()[i].name = all[i];
  auto const l = layout::of(m.parameters(), 256, false, 0, 1, {}, parts, cut);
  if (!l) return l.error().message;
  std::string digits;
  std::vector<std::size_t> tiles(parts);
  for (layout::row const& r : l->rows()) digits += std::to_string(r.fragment);
  // The tiles and elements of a fragment follow one another.
  for (std::size_t f = 0; f < parts; ++f) {
    layout::fragment const& part = l->fragments()[f];
    CHECK(part.first_tile == (f == 0 ? 0 : l->fragments()[f - 1].first_tile + l->fragments()[f - 1].tiles));
    for (std::size_t i = part.first_tile; i < part.first_tile + part.tiles; ++i) {
      tile const& t = l->tiles()[i];
      CHECK(l->rows()[t.row].fragment == f);
      CHECK(t.column >= part.column);
      CHECK(t.column + t.count <= part.column + part.elements);
    }
  }
  return digits;
}

template <class C, class Schedule>
std::vector<toy::bits> trained(Schedule schedule, std::vector<std::size_t> const& order,
                               pattern exchange = pattern::gather, long steps = 17) {
  return toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    named_model n;
    n.order = order;
    DiLoCo<adamw, nesterov, C, threads, error_feedback, weighted_mean, toy::chosen, Schedule> t(
        {.exchange = {exchange}, .transport = std::move(transport), .schedule = schedule}, n.parameters());
    for (long step = 1; step <= steps; ++step) t.step(n.gradients(rank, step));
    auto state = toy::state_of(t, n.m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest()), static_cast<std::uint32_t>(t.rounds())};
    return state;
  });
}

int even_layers_first(std::string_view t) {
  return t == "wte" || t.starts_with("h.0") || t == "h.2.w" ? 0 : 1;
}
int odd_layers_first(std::string_view t) { return 1 - even_layers_first(t); }
int only_layer_0(std::string_view t) { return t.starts_with("h.0") ? 0 : -1; }

std::vector<std::size_t> const as_listed{0, 1, 2, 3, 4, 5, 6, 7}, even_then_odd{0, 1, 2, 5, 3, 4, 6, 7};

}  // namespace

TEST_CASE("cuts: in strides, layer l goes into fragment l mod F") {
  CHECK(cut_of(names, 2, strided) == "00011011");
  CHECK(cut_of(names, 4, strided) == "00011233");
  CHECK(cut_of(names, 1, strided) == "00000000");
  // A number beside a letter is none: the layer is 3, 4 and 10.
  CHECK(cut_of({"conv2d", "block1.3.w2", "block1/4/w3", "x_10_y"}, 2, strided) == "1100");
  CHECK(cut_of({"7", "8"}, 2, strided) == "10");
}

TEST_CASE("cuts: by name") {
  CHECK(cut_of(names, 2, by_name(even_layers_first)) == "00011011");
  CHECK(cut_of(names, 2, by_name(odd_layers_first)) == "11100100");
}

TEST_CASE("cuts: one fragment in strides is every(H), bit for bit") {
  streaming const one{.inner_steps = 5, .parts = 1, .delay = 0, .mix = 0, .cut = strided};
  CHECK(trained<absmax<4>>(one, as_listed) == trained<absmax<4>>(every(5), as_listed));
}

TEST_CASE("cuts: strides and names are the same as a list in their order, bit for bit") {
  for (pattern const exchange : toy::patterns) {
    streaming s{.inner_steps = 6, .parts = 2, .delay = 2, .mix = 0.25f};
    s.cut = by_name(even_layers_first);
    auto const listed = trained<absmax<4>>(s, even_then_odd, exchange);
    CHECK(trained<absmax<4>>(s, as_listed, exchange) == listed);
    CHECK(trained<top_k<64>>(s, as_listed, exchange) == trained<top_k<64>>(s, even_then_odd, exchange));
    s.cut = strided;
    CHECK(trained<absmax<4>>(s, as_listed, exchange) == listed);
    CHECK(listed[0].at("digest") == listed[2].at("digest"));
    CHECK(listed[0].at("digest")[1] == 5);  // launches after 3, 6, 9, 12 and 15
  }
}

TEST_CASE("cuts: what cannot be cut is refused") {
  CHECK(cut_of(names, 5, strided) ==
        "diloco: schedule: no tensor that is trained is in fragment 4 of 5; say fewer fragments, or cut the "
        "model by "
        "name");
  CHECK(cut_of({"a", "b", "c1"}, 2, strided).find("no tensor that is trained is in fragment 1 of 2") !=
        std::string::npos);
  CHECK(cut_of(names, 2, by_name(only_layer_0)) ==
        "diloco: schedule: by_name puts 'wte' into fragment -1 of 2; give each tensor that is trained a "
        "fragment from 0 "
        "on");
  CHECK(cut_of(names, 2, by_name(nullptr)) ==
        "diloco: schedule: cuts the model by name and was given no function; say by_name(function)");
}

TEST_CASE("cuts: ranks that cut in other ways are refused by the name of a tensor") {
  auto const said = toy::on_each_rank(2, [&](threads transport) {
    named_model n;
    fragment_cut const cut = by_name(transport.rank() == 0 ? even_layers_first : odd_layers_first);
    using trainer = DiLoCo<sgd, nesterov, absmax<4>, threads, error_feedback, weighted_mean, gather, manual>;
    return toy::sentence(toy::outcome_of(
        trainer::make({.transport = std::move(transport), .schedule = manual(2, cut)}, n.parameters())));
  });
  for (std::string const& each : said) {
    CAPTURE(each);
    CHECK(each.find("'wte' (300) in fragment 0") != std::string::npos);
    CHECK(each.find("'wte' (300) in fragment 1") != std::string::npos);
  }
}

TEST_CASE("cuts: a run goes on from a snapshot with the same cut, and with no other") {
  support::folder const folder;
  using run = DiLoCo<adamw, nesterov, absmax<4>, alone, error_feedback, weighted_mean, automatic, streaming>;
  auto const schedule = [](fragment_cut cut) {
    return streaming{.inner_steps = 4, .parts = 2, .delay = 1, .mix = 0, .cut = cut};
  };
  auto const train = [&](run& t, named_model& n, long from, long to) {
    for (long step = from; step <= to; ++step) t.step(n.gradients(0, step));
    return toy::state_of(t, n.m);
  };
  named_model whole, first, second, other;
  run a({.transport = alone{}, .schedule = schedule(strided)}, whole.parameters());
  auto const expected = train(a, whole, 1, 13);
  run b({.transport = alone{}, .schedule = schedule(strided)}, first.parameters());
  train(b, first, 1, 6);  // fragment 0 is under way
  save(b, folder.path());
  run c({.transport = alone{}, .schedule = schedule(strided)}, second.parameters());
  resume(c, folder.path());
  CHECK(train(c, second, 7, 13) == expected);
  for (fragment_cut const cut : {by_name(odd_layers_first), sequential}) {
    run d({.transport = alone{}, .schedule = schedule(cut)}, other.parameters());
    std::string const refused = toy::sentence(toy::outcome_of(try_resume(d, folder.path())));
    CAPTURE(refused);
    CHECK(refused.find("cut") != std::string::npos);
  }
  // The same kind of cut by another function.
  support::folder const named;
  run e({.transport = alone{}, .schedule = schedule(by_name(even_layers_first))}, other.parameters());
  save(e, named.path());
  run f({.transport = alone{}, .schedule = schedule(by_name(odd_layers_first))}, other.parameters());
  std::string const refused = toy::sentence(toy::outcome_of(try_resume(f, named.path())));
  CAPTURE(refused);
  CHECK(refused.find("'wte' (300) in fragment 0") != std::string::npos);
}
