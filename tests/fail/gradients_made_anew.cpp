// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: step: the range makes each gradient anew and destroys it before it is read
#include <diloco/diloco.hpp>

struct made {
  struct iterator {
    int at;
    std::vector<float> operator*() const { return std::vector<float>(10); }
    iterator& operator++() {
      ++at;
      return *this;
    }
    bool operator!=(iterator const& other) const { return at != other.at; }
  };
  iterator begin() const { return {0}; }
  iterator end() const { return {2}; }
  std::size_t size() const { return 2; }
};

void f(diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>& trainer) {
  trainer.step(made{});
}
